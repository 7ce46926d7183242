"""Every row of answers: what the model gets of a status and a media type, in the text and in the structure alike."""

import base64
import json
import time
from typing import Any

import msgspec
import pytest
from msgspec import UNSET, Raw

from mcp_server import AudioContent, CallToolResult, EmbeddedResource, ImageContent, ResourceLink, TextContent
from mcp_server.rest.model import About, Operation, Parameter, Style, WireAnswer
from mcp_server.rest.wire import answers, pages
from mcp_server.rest.wire.answers import Asked, Expected
from mcp_server.rest.wire.pages import Paging

URL = "https://api.test/v2/orders"
ASKED = Asked(URL, {"status": "open"})


def answer(body: Any = b"", status: int = 200, kind: str = "application/json", **headers: str) -> WireAnswer:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return WireAnswer(status=status, headers={"content-type": kind, **named} if kind else named, body=data)


def read(given: WireAnswer, asked: Asked = ASKED, **expected: Any) -> CallToolResult:
    found = answers.result(given, Expected(**expected), asked)
    msgspec.json.encode(found)  # whatever it is, it can be sent
    return found


def text_of(found: CallToolResult) -> str:
    (block,) = found.content
    assert isinstance(block, TextContent)
    return block.text


def structure(found: CallToolResult) -> Any:
    assert isinstance(found.structured_content, Raw)
    return json.loads(bytes(found.structured_content))


def both(found: CallToolResult) -> Any:
    """The structure, which the text says word for word."""
    assert found.is_error is UNSET
    assert json.loads(text_of(found)) == structure(found)
    return structure(found)


def error(found: CallToolResult) -> str:
    assert found.is_error is True
    assert found.structured_content is UNSET
    return text_of(found)


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
    operation = Operation(method="get", path="/orders", pointer="", about=About(), parameters=parameters)
    found = pages.paging(operation, {name: name.strip("$") for name in names})
    assert found is not None
    return found


# 2xx


def test_an_object_is_the_structure_and_the_same_text() -> None:
    given = b'{\n "id": 1,\n "big": 12345678901234567890, "price": 1.10 }'
    found = read(answer(given))
    assert text_of(found) == '{"id":1,"big":12345678901234567890,"price":1.10}'
    assert both(found) == json.loads(given)


@pytest.mark.parametrize("value", [[1, 2], "text", 5, None, True, [], {}])
def test_whatever_json_there_is_comes_as_it_is(value: Any) -> None:
    assert both(read(answer(value))) == value


@pytest.mark.parametrize(
    ("value", "shown"), [([1], {"items": [1]}), ("x", {"value": "x"}), (None, {"value": None}), ({"a": 1}, {"a": 1})]
)
def test_a_promised_object_is_one_whatever_came(value: Any, shown: Any) -> None:
    assert both(read(answer(value), structured=True)) == shown


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_nothing_is_done(status: int) -> None:
    assert text_of(read(answer(status=status, kind=""))) == f"Done ({status})."
    promised = read(answer(status=status, kind=""), structured=True)
    assert (text_of(promised), structure(promised)) == (f"Done ({status}).", {"_note": f"Done ({status})."})


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"\xef\xbb\xbf[1]", [1]),
        (b'{"a": NaN}', {"a": None}),
        (b'{"a": "x\ny"}', {"a": "x\ny"}),
        (b'{"a": "\\ud800"}', {"a": "?"}),
        (b'{"a": "\xe9"}', {"a": "\ufffd"}),
    ],
)
def test_json_that_only_some_readers_take(body: bytes, value: Any) -> None:
    assert both(read(answer(body))) == value


def test_json_in_another_encoding_and_under_another_name() -> None:
    assert both(read(answer('{"a":"é"}'.encode("latin-1"), kind="application/json; charset=latin-1"))) == {"a": "é"}
    assert both(read(answer({"a": 1}, kind="text/html"))) == {"a": 1}
    assert both(read(answer({"a": 1}, kind="application/vnd.api+json"), json=False)) == {"a": 1}
    assert both(read(answer({"a": 1}, kind=""), json=False)) == {"a": 1}


def test_text_and_what_it_lacks() -> None:
    assert text_of(read(answer(b"hello", kind="text/plain"), json=False)) == "hello"
    found = read(answer("é".encode() * 100, kind="application/xml"), json=False, max_bytes=21)
    assert text_of(found) == "é" * 10 + "\n[cut: 10 of 100 characters are shown]"
    promised = read(answer(b"x" * 30, kind="text/yaml"), json=False, structured=True, max_bytes=21)
    assert structure(promised) == {"text": "x" * 21, "_cut": "cut: 21 of 30 characters are shown"}


def test_a_table_is_cut_between_lines() -> None:
    table = "a,b\n" + "1,2\n" * 50
    found = text_of(read(answer(table.encode(), kind="text/csv"), json=False, max_bytes=14))
    assert found == "a,b\n1,2\n1,2\n\n[cut: 3 of 51 lines are shown]"


def test_a_page_is_read_as_its_words() -> None:
    page = b"<html><head><title>T</title></head><script>evil()</script><h1>Order  1</h1><p>is &lt;open&gt;</p></html>"
    assert text_of(read(answer(page, kind="text/html; charset=utf-8"), json=False)) == "Order 1\nis <open>"


def test_pictures_sound_and_bytes_are_blocks() -> None:
    data = base64.b64encode(b"bytes").decode()
    assert read(answer(b"bytes", kind="image/png"), json=False).content == [ImageContent(data, "image/png")]
    assert read(answer(b"bytes", kind="audio/ogg"), json=False).content == [AudioContent(data, "audio/ogg")]
    (block,) = read(answer(b"bytes", kind="application/pdf"), json=False, uri="api:x").content
    assert isinstance(block, EmbeddedResource)
    assert (block.resource.uri, block.resource.blob) == ("api:x", data)
    promised = read(answer(b"bytes", kind="image/png"), json=False, structured=True)
    assert structure(promised) == {"_note": "5 bytes of image/png"}


def test_bytes_that_are_too_large_are_a_link_or_an_error_with_their_size() -> None:
    large = answer(b"b" * (256 * 1024 + 1), kind="application/zip")
    assert error(read(large, json=False)) == (
        "The API answered with 262,145 bytes of application/zip: more than the 262,144 that a tool may answer with."
    )
    (block,) = read(large, Asked(URL, {}, "orders://1/file"), json=False).content
    assert block == ResourceLink(uri="orders://1/file", name="file", mime_type="application/zip")


def test_endless_types_are_what_came_in_time() -> None:
    lines = answer(b'{"a":1}\n\nplain\n{"a":2}\n{"a', kind="application/x-ndjson")
    assert both(read(lines)) == [{"a": 1}, "plain", {"a": 2}, '{"a']
    cut = msgspec.structs.replace(lines, cut=True)
    assert both(read(cut)) == {
        "items": [{"a": 1}, "plain", {"a": 2}],
        "_cut": {"more": "the answer went on for longer than is read"},
    }
    events = answer(b': hi\nevent: x\ndata: {"a":\ndata: 1}\n\ndata: y\nid: 3\n\n', kind="text/event-stream")
    assert both(read(events)) == [{"a": 1}, "y"]


@pytest.mark.parametrize("body", [b'{"a": [1, 2', b"OK", b""" {'a': 1}"""])
def test_promised_json_that_is_none_is_an_error_with_its_beginning(body: bytes) -> None:
    found = error(read(answer(body)))
    assert found.startswith("The API answered 200 with what is no JSON (application/json)")
    assert found.endswith(body.decode().strip())


def test_a_page_in_place_of_json_is_named_by_its_title() -> None:
    page = b"<html><title>Sign in</title><body>" + b"<p>x</p>" * 500
    assert error(read(answer(page, kind="text/html"))).endswith(
        "(text/html), though its document promises it. It begins: Sign in"
    )
    long = error(read(answer(b"x" * 5_000, kind="text/plain")))
    assert long.endswith("It begins: " + "x" * 200)


def test_json_that_is_too_long_to_be_read_says_so() -> None:
    half = msgspec.structs.replace(answer(b"[" + b"1," * 500), cut=True)
    assert "longer than 1,001 bytes, the most that is read: ask for less" in error(read(half))


# What is promised strictly


def violation(found: bytes) -> str:
    value = json.loads(found)
    if not isinstance(value, dict) or not isinstance(value.get("n"), int):
        return "/n: is no integer"
    return "/_cut: unknown" if "_cut" in value else ""


def test_a_strict_promise_that_is_broken_is_an_error_with_the_data() -> None:
    assert both(read(answer({"n": 1}), violation=violation)) == {"n": 1}
    found = error(read(answer({"n": "one"}), violation=violation))
    assert found == (
        'The API\'s answer is not what its document promises (/n: is no integer). The answer itself:\n{"n":"one"}'
    )
    found = error(read(answer({"n": "one", "all": list(range(2_000))}), violation=violation, max_bytes=2_000))
    assert len(found) < 2_300
    assert "of 2000 items are shown)" in found


def test_a_strict_promise_that_a_cut_breaks_is_an_error_with_a_part() -> None:
    found = error(read(answer({"n": 1, "all": list(range(2_000))}), violation=violation, max_bytes=2_000))
    assert found.startswith("The answer is too long to be given as its document promises. A part of it:\n")
    assert json.loads(found.partition("\n")[2])["n"] == 1


# Cuts and pages


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
    asked, spent = Asked(URL, {"limit": 4_000}), []
    found = answers.result(given, expected, asked)
    for _ in range(3):
        started = time.process_time()
        found = answers.result(given, expected, asked)
        spent.append(time.process_time() - started)
    shown = both(found)["_cut"]["shown"]
    assert both(found)["_cut"] == {"shown": shown, "of": 9_000, "next": {"limit": shown, "offset": shown}}
    assert min(spent) < 0.05  # of this process alone: a neighbour does not count


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
    operation = Operation(method="get", path="/", pointer="", about=About())
    assert pages.paging(operation, {}) is None
    assert both(read(answer({"next": "?page=2"}))) == {"next": "?page=2"}


def test_pages_may_begin_at_zero() -> None:
    parameters = tuple(
        Parameter(name=name, place="query", required=False, schema=schema, style=Style(name="form", explode=True))
        for name, schema in (("page", {"type": ["integer", "null"], "default": 0}), ("size", True))
    )
    operation = Operation(method="get", path="/", pointer="", about=About(), parameters=parameters)
    turns = pages.paging(operation, {"page": "page", "size": "size"})
    found = both(read(answer(orders(300)), Asked(URL, {}), paging=turns, max_bytes=3_500))
    assert found["_cut"]["next"]["page"] == 1
