"""`plan`: each operation offered or a fault of its own, the budget, the report."""

from typing import Any

import msgspec
import pytest

from mcp_server.rest.model import Fault
from mcp_server.rest.offer import budget, report
from mcp_server.rest.offer.plan import entry, plan
from tests.kit.offers import alternatives, answer, body, config, document, oauth, offered, operation, parameter

LONG = "retrieveTheEffectiveConfigurationOfOneVirtualNetworkGatewayConnection"
NINE = (
    operation("POST /a/{b}/c:activate", "", parameter("b", "path")),
    operation("GET /twice", "twice"),
    operation("GET /again", "twice"),
    operation("GET /long/1", f"{LONG}AndAllThatBelongsToItNumberOne"),
    operation("GET /long/2", f"{LONG}AndAllThatBelongsToItNumberTwo"),
    operation("GET /заказы", "найтиЗаказы"),
    operation("POST /calls", "callTool"),
)


def test_names_are_unique_readable_and_the_same_in_either_order() -> None:
    """Fragment 9."""
    found = offered(document(*NINE))
    names = [one.name for one in found.offers]
    assert names[:3] == ["post_a_b_c_activate", "twice_twice", "twice_again"]
    assert names[5:] == ["nayti_zakazy", "call_tool_post"]
    assert all(len(name) <= 48 for name in names)
    assert len(set(names)) == len(NINE)
    turned = offered(document(*NINE[::-1]))
    assert {one.operation.pointer: one.name for one in turned.offers} == {
        one.operation.pointer: one.name for one in found.offers
    }


def test_scopes_are_those_of_fragment_10() -> None:
    security: list[Any] = [
        (), ({},), ({"oauth": ("write",)}, {"oauth": ("admin",)}), ({"oauth": ("read",), "key": ()},), ({"key": ()},),
        ({"gone": ()},), ({"oauth": ("unmapped",)},),
    ]  # fmt: skip
    operations = [operation(f"GET /{i}", f"op{i}", security=alternatives(*one)) for i, one in enumerate(security)]
    key = msgspec.structs.replace(oauth(), kind="apiKey")
    found = offered(
        document(*operations, schemes={"oauth": oauth("read"), "key": key}),
        '[apis.orders.scopes]\n"read" = "mcp:read"\n"write" = "mcp:write"\n"admin" = "mcp:admin"',
    )
    assert {one.name: one.needs.alternatives for one in found.offers} == {
        "op0": (), "op1": (), "op2": ({"mcp:write"}, {"mcp:admin"}), "op3": ({"mcp:read"},), "op4": (),
    }  # fmt: skip
    assert [one.pointer for one in found.report.refused] == ["/paths/~15/get", "/paths/~16/get"]


@pytest.mark.parametrize(
    "given", [{"enum": [2**70]}, {"type": "string", "minLength": 2**70}, {"properties": {"\ud800": {}}}]
)
def test_what_json_cannot_have_is_a_fault_of_its_operation_or_gone(given: Any) -> None:
    found = offered(document(operation("GET /x", "x", parameter("p", schema=given)), operation("GET /y", "y")))
    assert [one.name for one in found.offers][-1] == "y"
    for one in found.offers:
        msgspec.json.decode(one.arguments.schema)


def test_a_hostile_document_is_text_at_most() -> None:
    name = "'); import os; os.system('x') #\u202e\x1b[2J"
    made = operation(f"GET /{name}", name, parameter(name), summary=name, description=f"</script>{name}")
    (one,) = offered(made).offers
    assert one.name.isascii()
    text = msgspec.json.encode(entry(one)).decode()
    assert "\u202e" not in text
    assert "\\u001b" not in text
    assert "\x1b" not in "\n".join(report.lines([offered(made).report]))


class TestBudget:
    def test_tokens_are_estimated_from_bytes(self) -> None:
        assert [budget.tokens(size) for size in (0, 1, 7, 8)] == [0, 1, 2, 3]

    @pytest.mark.parametrize(
        ("listing", "tools", "tokens", "search"),
        [
            ("auto", 100, 10_000, False), ("auto", 101, 10, True), ("auto", 10, 10_001, True),
            ("full", 1_000, 10**6, False), ("search", 1, 1, True),
        ],
    )  # fmt: skip
    def test_a_list_that_fits_is_shown(self, listing: Any, tools: int, tokens: int, search: bool) -> None:
        assert budget.is_search(listing, tools, tokens) is search

    def test_many_operations_are_searched_unless_told_otherwise(self) -> None:
        many = document(*(operation(f"GET /{i}", f"get{i}") for i in range(101)))
        assert offered(many).search
        assert not offered(many, 'list = "full"').search

    def test_an_entry_is_what_it_costs(self) -> None:
        found = offered(document(operation("GET /x", "x"), operation("POST /y", "y", body=body({"type": "array"}))))
        whole = msgspec.json.encode([entry(one) for one in found.offers])
        assert abs(found.report.count.tokens - budget.tokens(len(whole))) <= 2

    def test_the_heaviest_are_ten(self) -> None:
        assert budget.heaviest({f"t{i:02}": i % 3 for i in range(30)})[:2] == (("t02", 2), ("t05", 2))
        assert len(budget.heaviest({f"t{i}": i for i in range(30)})) == 10


def test_the_report_says_what_came_of_the_document() -> None:
    made = document(
        operation("GET /orders", "OrdersApi.list", security=alternatives({"o": ("read",)}, {"o": ("write",)})),
        operation("GET /open", "open"),
        operation("GET /bad", "bad", security=alternatives({"gone": ()})),
        operation("GET /key", "callTool"),
        operation("HEAD /orders"),
        schemes={"o": oauth("read", "write")},
        faults=(Fault("/paths/~1x", "left out"),),
    )
    text = """
[apis.orders.scopes]
read = "mcp:read"
write = "mcp:write"
[apis.orders.operations.open]
public = true
name = "see"
hide = ["x"]
"""
    assert [line for line in report.lines([offered(made, text).report]) if "≈" not in line] == [
        "  refused /paths/~1x: left out",
        "  refused /paths/~1bad/get: bad: security names no scheme of the document: gone",
        "  remark /paths/~1open/get: no parameter 'x'; there are: none",
        "  renamed open → see",
        "  renamed callTool → call_tool_get",
        "  scopes orders_api_list: mcp:read or mcp:write",
        "  scopes see: public",
        "  scopes call_tool_get: the default scopes",
    ]
    first = next(report.lines([offered(made, text).report]))
    assert first.startswith("orders: 5 operations, 3 tools, 1 not selected, 2 refused; ≈ ")
    assert first.endswith("shown as the whole list")


def test_the_report_names_scopes_without_a_translation() -> None:
    made = operation("GET /x", "x", security=alternatives({"o": ("read", "other")}))
    found = offered(document(made, schemes={"o": oauth()}), '[apis.orders.scopes]\nread = "a"\nunmapped = "keep"')
    assert list(report.lines([found.report]))[-1] == "  without a translation: other"
    assert found.offers[0].needs.alternatives == (frozenset({"a", "other"}),)


def test_names_that_other_tools_have_are_not_taken() -> None:
    found = plan(document(operation("GET /x", "findOrder")), config(), {"find_order"})
    assert [one.name for one in found.offers] == ["find_order_get"]


def test_an_operation_is_called_as_its_api_or_as_its_own() -> None:
    made = document(operation("GET /a", "a"), operation("GET /b", "b"))
    text = '[apis.orders.identity]\naudience = "orders"\n[apis.orders.operations.b.identity]\nmode = "none"'
    first, second = offered(made, text).offers
    assert (first.manner.identity.mode, first.manner.identity.audience) == ("exchange", "orders")
    assert (second.manner.identity.mode, second.manner.identity.audience) == ("none", "orders")


def test_only_a_get_is_a_resource() -> None:
    text = '[apis.orders.operations.a]\nas = "both"\n[apis.orders.operations.b]\nas = "resource"'
    found = offered(document(operation("GET /a", "a"), operation("POST /b", "b")), text)
    assert [one.manner.form for one in found.offers] == ["both", "tool"]
    assert [one.pointer for one in found.report.remarks] == ["/paths/~1b/post"]


def fanning(wide: int, levels: int, keywords: tuple[str, ...]) -> dict[str, Any]:
    """Definitions of which each is so many times the next, by each keyword."""
    ways: dict[str, Any] = {
        f"A{i}": {keyword: [{"$ref": f"#/$defs/A{i + 1}"}] * wide for keyword in keywords} for i in range(levels)
    }
    return {**ways, f"A{levels}": {"type": "object", "properties": {"x": {"type": "integer"}}}}


class TestBounds:
    """What a hostile document could make us do costs no more than the document."""

    @pytest.mark.parametrize("keywords", [("allOf",), ("anyOf",), ("oneOf",), ("allOf", "anyOf")])
    def test_alternatives_of_alternatives(self, keywords: tuple[str, ...]) -> None:
        """No value could be held against them in time; whoever tried would never answer anybody again."""
        fan = fanning(60, 30, keywords)
        ref = {"$ref": "#/$defs/A0"}
        found = offered(
            document(
                operation("GET /x", "x", parameter("p", schema=ref)),
                operation("POST /y", "y", body=body(ref)),
                operation("GET /z", "z", answers=(answer({"type": "object", "properties": {"a": ref}}),)),
                definitions=fan,
            ),
            '[apis.orders.answers]\noutput = "strict"',
        )
        assert [one.name for one in found.offers] == ["z"]
        assert found.offers[0].output_schema is None
        assert [one.pointer for one in found.report.refused] == ["/paths/~1x/get", "/paths/~1y/post"]
        assert all("alternatives of alternatives" in one.text for one in found.report.refused)
        assert [one.pointer for one in found.report.remarks] == ["/paths/~1z/get"]

    def test_what_is_shared_twice_and_ends_is_offered(self) -> None:
        ref = {"$ref": "#/$defs/A0"}
        made = operation("POST /x", "x", parameter("p", schema=ref), body=body(ref), answers=(answer(ref),))
        (found,) = offered(document(made, definitions=fanning(2, 5, ("allOf", "anyOf")))).offers
        found.arguments.values({"p": {"x": 1}, "body": {"x": 1}})

    def test_many_texts_against_one_schema_are_read_in_time(self) -> None:
        """Which types an item may have was found anew for each of them: five thousand times forty schemas."""
        ways = {f"S{i}": {"anyOf": [{"type": "integer"}]} for i in range(40)}
        item = {"anyOf": [{"$ref": f"#/$defs/{name}"} for name in ways]}
        asked = parameter("p", schema={"type": "array", "items": {"$ref": "#/$defs/item"}})
        (found,) = offered(document(operation("GET /x", "x", asked), definitions={**ways, "item": item})).offers
        assert found.arguments.values({"p": ["1"] * 5_000}).parameters["query", "p"] == [1] * 5_000

    def test_names_of_many_kilobytes(self) -> None:
        operations = [operation(f"GET /{'a_' * 20_000}{i}", f"{'B_' * 20_000}{i}", tags=("t",)) for i in range(3)]
        assert len({one.name for one in offered(document(*operations)).offers}) == 3

    def test_two_thousand_operations_of_few_names(self) -> None:
        operations = [operation(f"GET /{i}/x", f"op{i % 500}") for i in range(2_000)]
        assert len({one.name for one in offered(document(*operations)).offers}) == 2_000


def test_operations_that_take_the_same_have_one_schema_and_one_validator() -> None:
    shared = (parameter("a"), parameter("b"))
    made = document(
        operation("GET /1", "one", *shared), operation("GET /2", "two", *shared), operation("GET /3", "three", *shared)
    )
    text = '[apis.orders.operations.three]\nset = { b = "ours" }'
    one, two, three = offered(made, text).offers
    assert one.arguments is two.arguments
    assert "b" not in three.arguments.schema_object()["properties"]
    assert three.arguments.values({"a": "x"}).parameters == {("query", "a"): "x", ("query", "b"): "ours"}


def test_what_is_to_say_of_arguments_is_said_at_each_operation() -> None:
    shared = (parameter("f", schema={"type": "object", "properties": {"b": {}}}), parameter("b"))
    found = offered(document(operation("GET /1", "one", *shared), operation("GET /2", "two", *shared)))
    assert [one.pointer for one in found.report.remarks] == ["/paths/~11/get", "/paths/~12/get"]
