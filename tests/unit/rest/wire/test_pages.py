"""Long answers are cut between items, both forms say so, and what comes next is told as arguments of the same tool."""

import json
from typing import Any

import msgspec
import pytest

from mcp_server.rest.model import Operation, OperationDocs, Parameter, Style, WireAnswer
from mcp_server.rest.wire import answers, pages
from mcp_server.rest.wire.answers import Asked, Expected
from mcp_server.rest.wire.pages import Paging
from tests.kit.effort import spent
from tests.unit.rest.wire.test_answers import URL, answer, both, read, text_of


def turning(*names: str) -> Paging:
    style = Style(name="form", explode=True)
    parameters = tuple(
        Parameter(
            name=name,
            place="query",
            required=False,
            schema={"type": "string" if name in ("cursor", "status", "pageToken", "after") else "integer"},
            style=style,
        )
        for name in names
    )
    operation = Operation(method="get", path="/orders", pointer="", about=OperationDocs(), parameters=parameters)
    found = pages.paging(operation, {name: name.strip("$") for name in names})
    assert found is not None
    return found


def orders(n: int, size: int = 100) -> list[dict[str, Any]]:
    return [{"id": i, "text": "x" * size} for i in range(n)]


def test_a_long_list_is_cut_between_its_items_with_the_arguments_for_the_rest() -> None:
    found = both(read(answer(orders(375)), paging=turning("limit", "offset", "status"), max_bytes=3_500))
    shown = len(found["items"])
    assert found["items"] == orders(375)[:shown]
    assert found["_cut"] == {
        "shown": shown,
        "of": 375,
        "next": {"status": "open", "limit": shown, "offset": shown},
    }
    assert 15 < shown < 30


@pytest.mark.parametrize(
    ("given", "turns", "counted"),
    [
        ({"limit": 100, "offset": 200}, ("limit", "offset"), {"limit": 0, "offset": 200}),
        ({"$skip": 1}, ("$top", "$skip"), {"top": 0, "skip": 0}),  # named without the sign
        ({}, ("offset",), {"offset": 0}),
        ({}, ("per_page",), {"per_page": 0}),
    ],
)
def test_the_arguments_for_the_rest_count_from_where_the_page_began(
    given: dict[str, Any], turns: tuple[str, ...], counted: dict[str, int]
) -> None:
    found = both(read(answer(orders(300)), Asked(URL, given), paging=turning(*turns), max_bytes=3_500))
    shown = len(found["items"])
    note = found["_cut"].get("next", found["_cut"].get("smaller"))
    assert note == {**given, **{name: before + shown for name, before in counted.items()}}


def test_of_numbered_pages_the_second_small_one_is_the_rest_of_the_first() -> None:
    found = both(read(answer(orders(300)), Asked(URL, {}), paging=turning("per_page", "page"), max_bytes=3_500))
    assert found["_cut"]["next"] == {"per_page": len(found["items"]), "page": 2}


def test_where_the_rest_has_no_name_smaller_pages_are_offered() -> None:
    found = both(read(answer(orders(300)), Asked(URL, {}), paging=turning("limit", "cursor"), max_bytes=3_500))
    assert found["_cut"] == {"shown": len(found["items"]), "of": 300, "smaller": {"limit": len(found["items"])}}
    third = Asked(URL, {"page": 3, "per_page": 101})
    found = both(read(answer(orders(101)), third, paging=turning("per_page", "page"), max_bytes=3_500))
    assert found["_cut"]["smaller"] == {"page": 3, "per_page": len(found["items"])}


def test_the_total_of_all_pages_is_told() -> None:
    found = both(
        read(answer({"total": 9_000, "data": orders(300)}), paging=turning("limit", "offset"), max_bytes=3_500)
    )
    assert found["total"] == 9_000
    assert found["_cut"]["at"] == "/data"
    assert found["_cut"]["of"] == 9_000
    assert found["_cut"]["next"]["offset"] == len(found["data"]) == found["_cut"]["shown"]
    counted = answer(orders(300), x_total_count="812")
    assert both(read(counted, max_bytes=3_500))["_cut"]["of"] == 812


def test_long_texts_are_cut_where_no_list_is_to_blame() -> None:
    found = both(read(answer({"id": 1, "text": "é\n" * 5_000}), max_bytes=2_000))
    assert found["id"] == 1
    assert found["text"].endswith("…")
    assert found["_cut"] == {"at": "/text", "shown": len(found["text"]) - 1, "of": 10_000, "unit": "characters"}
    assert both(read(answer("x" * 5_000), max_bytes=2_000))["_cut"]["unit"] == "characters"


def test_lists_go_before_texts_and_the_small_stay_whole() -> None:
    value = {"name": "short", "text": "t" * 500, "a": orders(100), "b": orders(50), "c": [1, 2, 3], "a/b~": orders(60)}
    found = both(read(answer(value), max_bytes=5_000))
    assert (found["text"], found["c"], found["name"]) == ("t" * 500, [1, 2, 3], "short")
    assert found["_cut"]["at"] == "/a"
    assert {one["at"] for one in found["_cut"]["also"]} == {"/b", "/a~1b~0"}
    assert all(found[name] for name in ("a", "b", "a/b~"))


def test_a_map_of_many_is_cut_between_its_members() -> None:
    found = both(read(answer({f"k{n}": n for n in range(2_000)}), max_bytes=2_000))
    assert found["_cut"] == {"shown": len(found) - 1, "of": 2_000, "unit": "members"}
    assert found["k0"] == 0


def test_one_item_that_is_too_long_is_shown_in_part() -> None:
    found = both(read(answer([{"id": 1, "parts": list(range(3_000))}]), max_bytes=2_000))
    assert found["items"][0]["id"] == 1
    assert found["_cut"]["at"] == "/0/parts"


@pytest.mark.parametrize("room", [700, 1_000, 2_000, 3_333, 10_000])
@pytest.mark.parametrize(
    "value",
    [
        orders(500),
        {"a": {"b": {"c": orders(300)}}, "d": ["é" * 400] * 40},
        [[list(range(400))] * 5] * 5,
        ['\\"\n\u2028' * 900] * 9,
        {"é" * 50 + str(n): "\x00" * 100 for n in range(60)},
    ],
)
def test_whatever_is_cut_stays_json_within_its_bound(value: Any, room: int) -> None:
    found = read(answer(value), max_bytes=room)
    assert "_cut" in both(found)
    assert len(text_of(found).encode()) <= room


def test_4000_items_of_5_mb_take_less_than_50_ms() -> None:
    body = msgspec.json.encode(orders(4_000, 1_230))
    assert len(body) > 5_000_000
    given = answer(body, link='<https://api.test/v2/orders?limit=4000&offset=4000>; rel="next"', x_total_count="9000")
    expected = Expected(paging=turning("limit", "offset", "status"))
    asked = Asked(URL, {"limit": 4_000})
    found = answers.result(given, expected, asked)
    times = [spent(lambda: answers.result(given, expected, asked)) for _ in range(3)]
    shown = both(found)["_cut"]["shown"]
    assert both(found)["_cut"] == {"shown": shown, "of": 9_000, "next": {"limit": shown, "offset": shown}}
    assert min(times) < 0.05  # of this process alone: a neighbour does not count


def test_a_note_does_not_take_the_place_of_a_member_of_its_name() -> None:
    found = both(read(answer({"_cut": 1, "all": list(range(3_000))}), max_bytes=2_000))
    assert found["value"]["_cut"] == 1
    assert found["_cut"]["at"] == "/all"


def test_arguments_that_are_long_are_not_repeated() -> None:
    asked = Asked(URL, {"filter": "x" * 3_000})
    found = both(read(answer(orders(300)), asked, paging=turning("limit", "offset"), max_bytes=3_500))
    assert found["_cut"]["next"] == {"limit": len(found["items"]), "offset": len(found["items"])}


@pytest.mark.parametrize(
    ("headers", "body", "turns", "further"),
    [
        ({"link": "<https://api.test/v2/orders?limit=10&offset=20>; rel=next"}, [1], ("limit", "offset"), {"limit": 10, "offset": 20}),
        ({"link": '</v2/orders?page=3>; title="a, b"; rel="last", <?page=2>; rel="prev next"'}, [1], ("page",), {"page": 2}),
        ({"link": '<https://api.test/v2/orders?page=9>; rel="last"'}, [1], ("page",), None),
        ({"link": '<https://evil.test/v2/orders?page=2>; rel="next"'}, [1], ("page",), None),
        ({"link": '<http://api.test/v2/orders?page=2>; rel="next"'}, [1], ("page",), None),
        ({"link": '<https://api.test/v2/admin?page=2>; rel="next"'}, [1], ("page",), None),
        ({"link": '<https://api.test/v2/orders?other=2>; rel="next"'}, [1], ("page",), None),
        ({"link": "<http://[bad>; rel=next"}, [1], ("page",), None),
        ({}, {"next": "https://api.test/v2/orders?page=2&status=x"}, ("page", "status"), {"page": 2, "status": "x"}),
        ({}, {"next": None}, ("page",), None),
        ({}, {"next": 4}, ("page",), {"page": 4}),
        ({}, {"next": True}, ("page",), None),
        ({}, {"nextPageToken": "abc"}, ("pageToken",), {"pageToken": "abc"}),
        ({}, {"nextPageToken": "abc"}, ("page",), None),
        ({}, {"next_cursor": "c"}, ("cursor",), {"cursor": "c"}),
        ({}, {"_links": {"next": {"href": "/v2/orders?page=2"}}}, ("page",), {"page": 2}),
        ({}, {"links": {"next": "?page=2"}}, ("page",), {"page": 2}),
        ({}, {"paging": {"cursors": {"after": "z"}}}, ("after",), {"after": "z"}),
        ({}, {"@odata.nextLink": "https://api.test/v2/orders?$skip=20"}, ("$skip",), {"skip": 20}),
        ({}, {"data": [1]}, ("page",), None),
        ({}, "text", ("page",), None),
    ],
)  # fmt: skip
def test_the_next_page_is_told_as_arguments(
    headers: dict[str, str], body: Any, turns: tuple[str, ...], further: Any
) -> None:
    given = WireAnswer(
        status=200, headers={"content-type": "application/json", **headers}, body=json.dumps(body).encode()
    )
    found = both(read(given, paging=turning(*turns)))
    if further is None:
        assert found == body
        return
    assert found["_next"] == {"status": "open", **further}
    assert found.get("items", body) == body


def test_where_nothing_turns_pages_nothing_is_told() -> None:
    operation = Operation(method="get", path="/", pointer="", about=OperationDocs())
    assert pages.paging(operation, {}) is None
    assert both(read(answer({"next": "?page=2"}))) == {"next": "?page=2"}


def test_pages_may_begin_at_zero() -> None:
    parameters = tuple(
        Parameter(name=name, place="query", required=False, schema=schema, style=Style(name="form", explode=True))
        for name, schema in (("page", {"type": ["integer", "null"], "default": 0}), ("size", True))
    )
    operation = Operation(method="get", path="/", pointer="", about=OperationDocs(), parameters=parameters)
    turns = pages.paging(operation, {"page": "page", "size": "size"})
    found = both(read(answer(orders(300)), Asked(URL, {}), paging=turns, max_bytes=3_500))
    assert found["_cut"]["next"]["page"] == 1
