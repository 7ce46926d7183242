"""Which operation a path is, exactly and generously read, whatever else the document has."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_server.rest.needs.operation_index import OperationIndex
from tests.kit.offers import document, oauth, offered, operation

SEGMENTS = ["orders", "Export", "{id}", "r.{format}", "{a}-{b}"]
WRITTEN = ["orders", "export", "Export", "r.csv", "1-2", "7", "ORDERS"]


def known(*paths: str) -> OperationIndex:
    """Each operation needs a scope that is named like its place."""
    made = [
        operation(f"GET {path}", f"o{place}", security=({"oauth": (f"s{place}",)},)) for place, path in enumerate(paths)
    ]
    return OperationIndex(offered(document(*made, schemes={"oauth": oauth()})))


def places(operations: OperationIndex, path: str) -> list[int]:
    return [int(next(iter(one.needs.alternatives[0]))[1:]) for one in operations.alike("GET", path)]


@settings(max_examples=30)
@given(
    st.lists(st.lists(st.sampled_from(SEGMENTS), min_size=1, max_size=3).map("/".join), max_size=8, unique=True),
    st.lists(st.sampled_from(WRITTEN), min_size=1, max_size=3).map("/".join),
)
def test_an_operation_is_found_as_if_all_were_looked_at(paths: list[str], asked: str) -> None:
    operations = known(*(f"/{one}" for one in paths))
    in_turn = sorted(paths, key=lambda one: one.count("{"))
    matching = [one for one in in_turn if re.fullmatch(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(one)), asked)]
    found = operations.find("GET", f"/{asked}")
    assert (found and found.needs.alternatives) == (
        (frozenset({f"s{paths.index(matching[0])}"}),) if matching else None
    )
    assert operations.find("POST", f"/{asked}") is None


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/orders/7", [0, 0]),
        ("/orders/export", [1, 1]),
        ("/ORDERS/Export", [1]),
        ("/orders/export.json", [0, 0, 1]),
        ("/orders/export%2F", [0, 1]),
        ("/orders/%2Fexport", [0, 1]),
        ("/orders/export%3Bv=1", [0, 1]),
        ("/orders/7%2Fexport", [0]),
        ("/orders/7.csv", [0, 0, 0]),
        ("/orders/.csv", [0, 0]),
        ("/elsewhere", []),
        ("/orders/" + "a%2F" * 5000, [0]),
    ],
)
def test_a_path_may_be_read_as_another_operations(path: str, found: list[int]) -> None:
    assert places(known("/orders/{id}", "/orders/export"), path) == found


@settings(max_examples=200)
@given(st.lists(st.text("a.", max_size=2), min_size=1, max_size=4), st.text("a.b", max_size=8))
def test_variables_of_one_segment_stand_where_a_regex_finds_them(texts: list[str], asked: str) -> None:
    path = "{v}".join(["x", *texts])
    matching = re.fullmatch("[^/]+".join(map(re.escape, ["x", *texts])), asked)
    assert (known(f"/{path}").find("GET", f"/{asked}") is not None) == bool(matching)


def test_many_dots_are_tried_once() -> None:
    """A regex would try each for each variable, in the loop of all: 1,600 took 24 s, and there is room for 32,000."""
    assert places(known("/{z}.{x}.{y}.png"), "/" + "." * 30_000 + "1.2.png") == [0, 0]
