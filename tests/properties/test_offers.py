"""Whatever a document calls its operations and parameters: names and keys that providers take, and no value is lost."""

import re

from hypothesis import given
from hypothesis import strategies as st

from mcp_server.rest.model import Parameter
from mcp_server.rest.offer import names, words
from mcp_server.rest.offer.names import Named
from tests.kit.offers import body, document, offer, operation, parameter, properties

IDS = st.text(max_size=80) | st.lists(
    st.sampled_from(["Users", "Api_", "find", "ALL", "by2", ".", "_"]), max_size=30
).map("".join)
PATHS = st.lists(st.text(max_size=12), max_size=4).map(lambda parts: "/" + "/".join(parts))
OPERATIONS = st.lists(
    st.builds(
        Named, method=st.sampled_from(["GET", "POST", "DELETE"]), path=PATHS, operation_id=IDS | st.sampled_from(["a", "A_b"]),
        tags=st.sampled_from([(), ("t",), ("u",)]), chosen=st.sampled_from(["", "", "", "mine", "a b"]),
    ),
    max_size=12, unique_by=lambda one: one.key,
)  # fmt: skip
WIRE = st.lists(
    st.tuples(st.sampled_from(["query", "header", "cookie", "path"]), st.text(min_size=1, max_size=70)),
    max_size=8, unique_by=lambda one: (one[0], one[1].lower()),
)  # fmt: skip


@given(OPERATIONS)
def test_names_are_unique_taken_by_providers_and_not_of_the_order(operations: list[Named]) -> None:
    found = names.tool_names(operations, {"call_tool"})
    assert found == names.tool_names(operations[::-1], {"call_tool"})
    assert len(set(found.values())) == len(operations)
    for name in found.values():
        assert re.fullmatch(r"[a-zA-Z0-9_-]{1,48}", name)
    assert "call_tool" not in found.values()


@given(WIRE, st.dictionaries(st.text(max_size=10), st.just({"type": "string"}), max_size=4))
def test_each_argument_arrives_at_its_own_place(wire: list[tuple[str, str]], fields: dict[str, object]) -> None:
    parameters: list[Parameter] = [parameter(name, place) for place, name in wire]  # type: ignore[arg-type]
    made = operation("POST /x", "x", *parameters, body=body({"type": "object", "properties": fields}, required=False))
    found = offer(document(made))
    asked = found.arguments.asked
    shown = properties(found)
    assert all(re.fullmatch(r"[a-zA-Z0-9_.-]{1,64}", key) for key in shown)
    assert list(shown) == [one.key for one in asked]
    given = {one.key: one.wire for one in asked if one.place != "body"}
    sent = found.arguments.values(given)
    assert sent.parameters == {(one.place, one.wire): one.wire for one in asked if one.place not in ("body", "field")}
    if any(one.place == "field" for one in asked):
        assert sent.body == {name: name for name in fields}


@given(st.text(max_size=3_000), st.integers(20, 1_024))
def test_words_are_short_and_hold_nothing_unseen(text: str, longest: int) -> None:
    found = words.first_paragraph(text, longest)
    assert len(found) <= longest
    assert words.clean(found) == found
    assert "\n" not in found
