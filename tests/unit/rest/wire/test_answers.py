"""Every row of answers: what the model gets of a status and a media type, in the text and in the structure alike."""

import base64
import json
from typing import Any

import msgspec
import pytest
from msgspec import UNSET, Raw

from mcp_server import AudioContent, CallToolResult, EmbeddedResource, ImageContent, ResourceLink, TextContent
from mcp_server.rest.model import WireAnswer
from mcp_server.rest.wire import answers, media
from mcp_server.rest.wire.answers import Asked, Expected

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


@pytest.mark.parametrize("rest", ["", "da", "data: 4", "data: 4\n", ": beat", "id: 4\nda"])
@pytest.mark.parametrize("line", ["\n", "\r\n", "\r"])
def test_of_cut_events_all_whole_ones_are_told(line: str, rest: str) -> None:
    events = answer(f"data: 1\n\ndata: 2\n\n:\n\n{rest}".replace("\n", line).encode(), kind="text/event-stream")
    assert both(read(msgspec.structs.replace(events, cut=True)))["items"] == [1, 2]


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
    away = answer(b"<html><title>api.test:443 is away, and so is api</title>", kind="text/html")
    assert error(read(away)).endswith("It begins: … is away, and so is api")
    long = error(read(answer(b"x" * 5_000, kind="text/plain")))
    assert long.endswith("It begins: " + "x" * 200)


def test_json_that_is_too_long_to_be_read_says_so() -> None:
    half = msgspec.structs.replace(answer(b'{"a":[' + b"1," * 500), cut=True)
    assert "longer than is read, and no part of its first 1,006 bytes is whole: ask for less" in error(read(half))


@pytest.mark.parametrize(
    ("body", "items"),
    [
        (b'[1,{"a":"]"}, 3', [1, {"a": "]"}]),
        (b' [ 12345678901234567890 , "x" ,', [12345678901234567890, "x"]),
        (b'{"type":"ADDED"}\n{"type":"GONE"}\n{"ty', [{"type": "ADDED"}, {"type": "GONE"}]),
        (b'{"a":1}{"b":2}', [{"a": 1}, {"b": 2}]),
        (b"[1,2]", [1, 2]),
    ],
)
def test_the_whole_items_of_cut_json_are_told(body: bytes, items: list[Any]) -> None:
    found = both(read(msgspec.structs.replace(answer(body), cut=True)))
    assert found == {"items": items, "_cut": {"more": "the answer went on for longer than is read"}}


@pytest.mark.parametrize("body", [b"[", b"[1", b'[{"a', b'{"a":1', b"12", b'"x"', b"", b"[" * 100_000, b"]"])
def test_cut_json_without_a_whole_item_is_an_error(body: bytes) -> None:
    assert media.begun(msgspec.structs.replace(answer(body), cut=True)) is None


def test_a_cut_table_ends_with_its_last_whole_line() -> None:
    table = msgspec.structs.replace(answer(b"a,b\n1,2\n3,", kind="text/csv"), cut=True)
    assert text_of(read(table, json=False)) == "a,b\n1,2\n\n[cut: 2 of more than 2 lines are shown]"


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


@pytest.mark.parametrize("piece", ["<a ", "<a b='", "<!--", "</p", "<script>", "<", "<![CDATA[", "&#"])
def test_a_page_of_nothing_but_beginnings_is_read_in_no_time(piece: str) -> None:
    """Each mark is looked at once: Python's own reader took half a minute for 32 KiB of it."""
    answer = WireAnswer(status=200, headers={"content-type": "text/html"}, body=(piece * 90_000).encode())
    assert media.text(answer, 1_000)[0] is not None


@pytest.mark.parametrize("charset", ["punycode", "idna", "hex", "rot13", "unicode_escape", "utf-7", "nowhere"])
def test_only_encodings_of_texts_are_believed(charset: str) -> None:
    answer = WireAnswer(status=200, headers={"content-type": f"text/plain; charset={charset}"}, body=b"a-\xc3\xa9")
    assert media.text(answer, 1_000)[0] == "a-é"


def test_an_endless_type_is_read_to_its_bound() -> None:
    body = b"1\n" * (media.MAX_STREAM // 2 + 5)
    answer = WireAnswer(status=200, headers={"content-type": "application/x-ndjson"}, body=body)
    assert len(media.items(answer)[0]) <= media.MAX_STREAM + 1
