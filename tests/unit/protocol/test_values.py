"""The protocol's values: templates, annotated parameters, sealed texts, events, lines."""

import base64
import json
from typing import Any

import pytest

from mcp_server.protocol import cursor, inbound, param_headers, sse
from mcp_server.protocol.errors import RpcError
from mcp_server.protocol.inbound import Legacy, LegacyBatch, Modern
from mcp_server.protocol.param_headers import BadAnnotation
from mcp_server.protocol.sealed import InvalidSealedValue, SealingKeys
from mcp_server.registry.addresses.path_safety import MAX_URI
from mcp_server.registry.addresses.uri_template import BadTemplate, UriTemplate
from tests.kit import wire

MATCHES: list[tuple[str, str, dict[str, str] | None]] = [
    ("orders://{id}", "orders://5", {"id": "5"}),
    ("orders://{id}", "orders://", {}),
    ("orders://{id}", "orders://a/b", None),
    ("orders://{id}", "other://5", None),
    ("orders://{id}/x", "orders://5/y", None),
    ("orders://{id}/x", "orders://5/x", {"id": "5"}),
    ("orders://{id}/x", "orders://5/xx", None),
    ("orders://{id}", "orders://%C3%BC", {"id": "ü"}),
    ("orders://{id}", "orders://%zz", None),
    ("orders://{id}", "orders://%c", None),
    ("orders://{id}", "orders://%ff", None),
    ("orders://{id}", "orders://a b", None),
    ("x://{a}-{b}", "x://1-2-3", {"a": "1", "b": "2-3"}),
    ("x://{a,b}", "x://1,2", {"a": "1", "b": "2"}),
    ("x://{a,b}", "x://1", {"a": "1"}),
    ("x://{a,b}", "x://1,2,3", None),
    ("x://{list*}", "x://1,2,3", {"list": "1,2,3"}),
    ("x://{a:3}", "x://abc", {"a": "abc"}),
    ("file:///{+path}", "file:///a/b?c", {"path": "a/b?c"}),
    ("x://y{#part}", "x://y#a/b", {"part": "a/b"}),
    ("x://y{#part}", "x://y", {}),
    ("x://y{.ext}", "x://y.txt", {"ext": "txt"}),
    ("x://y{.ext}", "x://yabc", None),
    ("x://y{/seg}", "x://y/a", {"seg": "a"}),
    ("x://y{/seg}", "x://y/a/b", None),
    ("x://y{/seg*}", "x://y/a/b", {"seg": "a/b"}),
    ("x://y{;p,q}", "x://y;p=1;q=2", {"p": "1", "q": "2"}),
    ("x://y{?p,q}", "x://y?q=2&p=1", {"p": "1", "q": "2"}),
    ("x://y{?p}", "x://y?z=1", None),
    ("x://y{?p}", "x://y?p=1&p=2", None),
    ("x://y{?p}", "x://y?p", {"p": ""}),
    ("x://y?a=b{&p}", "x://y?a=b&p=1", {"p": "1"}),
    ("x://y{/seg}{?p}", "x://y/a?p=1", {"seg": "a", "p": "1"}),
    ("x://y{/seg}{?p}", "x://y?p=1", {"p": "1"}),
    ("x://y{/seg}{?p}", "x://y/a", {"seg": "a"}),
    ("x://y{/seg}{?p}z", "x://yz", {}),
    ("x://{id}", "x://" + "a" * MAX_URI, None),
    ("file:///{+path}{?page}", "file:///a/b?page=2", {"path": "a/b", "page": "2"}),
    ("file:///{+path}{?page}", "file:///a/b", {"path": "a/b"}),
    ("file:///{+path}{?page}", "file:///a/b?other=2", None),
    ("file:///{+path}{?page}{#part}", "file:///a?page=2#end", {"path": "a", "page": "2", "part": "end"}),
    ("x://{id:3}", "x://abc", {"id": "abc"}),
    ("x://{id:3}", "x://abcd", None),
    ("x://{id:2}", "x://%C3%BC%C3%BC", {"id": "üü"}),
    ("x://y{?p:2}", "x://y?p=abc", None),
]
LISTS: list[tuple[str, str, object]] = [
    ("x://{a*}", "x://b,c", ["b", "c"]),
    ("x://{a}", "x://b,c", ["b", "c"]),
    ("x://{a}", "x://b%2Cc", ["b,c"]),
    ("x://y{/a*}", "x://y/b/c", ["b", "c"]),
    ("x://y{/a}", "x://y/b,c", ["b", "c"]),
    ("x://y{/a}", "x://y/b/c", None),
    ("x://y{.a*}", "x://y.b.c", ["b", "c"]),
    ("x://y{;a*}", "x://y;a=1;a=2", ["1", "2"]),
    ("x://y{?a*}", "x://y?a=1&a=2", ["1", "2"]),
    ("x://y{?a*}", "x://y?a=1&b=2", None),
    ("x://y{?a}", "x://y?a=1,2", ["1", "2"]),
    ("x://y{?a}", "x://y?a=1&a=2", None),
    ("x://{+a*}", "x://b/c,d", ["b/c", "d"]),
]


@pytest.mark.parametrize(("template", "uri", "found"), LISTS)
@pytest.mark.requirement("9.4")
def test_a_list_is_matched_and_expanded(template: str, uri: str, found: list[str] | None) -> None:
    listed = UriTemplate(template, ["a"])
    assert listed.match(uri) == (None if found is None else {"a": found})
    if found is not None:
        assert listed.expand({"a": found}) == uri
    assert listed.expand({"a": []}) == listed.expand({})


@pytest.mark.parametrize("text", ["x://{a,b}", "x://{a:3}", "x://y{/b,a*}"])
def test_a_list_that_no_address_can_be_split_into_is_refused(text: str) -> None:
    with pytest.raises(BadTemplate):
        UriTemplate(text, ["a"])
    assert UriTemplate("x://y{?b,a*}", ["a"]).match("x://y?a=1&b=2&a=3") == {"a": ["1", "3"], "b": "2"}


@pytest.mark.parametrize(("template", "uri", "found"), MATCHES)
@pytest.mark.requirement("9.4", "9.6")
def test_a_uri_is_matched(template: str, uri: str, found: dict[str, str] | None) -> None:
    assert UriTemplate(template).match(uri) == found


@pytest.mark.parametrize(
    "text",
    ["x://{a}{b}", "x://{+a}{/b}", "x://{/a}{/b}", "plain://x", "x://{", "x://a}", "{a", "x://{a}/{a}", "x://{}", "x://{a b}", "x://{a:0}", "x://{a:x}", "x://{a:99999}", "x://{a*:3}"],
)  # fmt: skip
def test_a_template_that_cannot_be_matched_is_refused(text: str) -> None:
    with pytest.raises(BadTemplate):
        UriTemplate(text)


def test_expansion_is_the_standards() -> None:
    values = {"var": "value", "hello": "Hello World!", "path": "/foo/bar", "x": "1024", "empty": ""}
    for template, expanded in (
        ("O{var}", "Ovalue"),
        ("O{hello}", "OHello%20World%21"),
        ("O{+path}/here", "O/foo/bar/here"),
        ("O{#path}", "O#/foo/bar"),
        ("O{.var}", "O.value"),
        ("O{/var,x}", "O/value/1024"),
        ("O{;x,empty}", "O;x=1024;empty="),
        ("O{?x,none}", "O?x=1024"),
        ("O{&none}", "O"),
        ("O{var:3}", "Oval"),
    ):
        assert UriTemplate(template).expand(values) == expanded


def schema(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


@pytest.mark.parametrize(
    "bad",
    [
        schema(a={"type": "string", "x-mcp-header": ""}),
        schema(a={"type": "string", "x-mcp-header": "a b"}),
        schema(a={"type": "string", "x-mcp-header": "a\nb"}),
        schema(a={"type": "string", "x-mcp-header": 5}),
        schema(a={"type": "number", "x-mcp-header": "A"}),
        schema(a={"type": "array", "x-mcp-header": "A"}),
        schema(a={"x-mcp-header": "A"}),
        schema(a={"type": ["string", "null"], "x-mcp-header": "A"}),
        {"type": "object", "properties": [{"type": "string", "x-mcp-header": "A"}]},
        schema(a={"type": "string", "x-mcp-header": "A"}, b={"type": "string", "x-mcp-header": "a"}),
        schema(a={"type": "array", "items": {"type": "string", "x-mcp-header": "A"}}),
        schema(a={"anyOf": [{"type": "string", "x-mcp-header": "A"}]}),
        schema(a={"$ref": "#/$defs/x"}) | {"$defs": {"x": {"type": "string", "x-mcp-header": "A"}}},
        {"type": "object", "if": schema(a={"type": "string", "x-mcp-header": "A"})},
    ],
)
@pytest.mark.requirement("8.21")
def test_an_annotation_that_clients_refuse_is_refused_at_registration(bad: dict[str, Any]) -> None:
    with pytest.raises(BadAnnotation):
        param_headers.find(bad)


@pytest.mark.parametrize(
    "odd", [{"properties": "eu"}, {"properties": None}, schema(a={"properties": [1]}), schema(a=5)]
)
def test_what_is_no_schema_has_no_annotation(odd: dict[str, Any]) -> None:
    assert param_headers.find(odd) == ()


def test_annotations_are_found_along_properties() -> None:
    found = param_headers.find(
        schema(a=schema(b={"type": "integer", "x-mcp-header": "B"}), c={"type": "boolean", "x-mcp-header": "C"}, d=True)
    )
    assert [(one.path, one.header) for one in found] == [(("a", "b"), b"mcp-param-b"), (("c",), b"mcp-param-c")]
    assert param_headers.find({"type": "object"}) == ()
    good = {b"mcp-param-b": b"1", b"mcp-param-c": b"true"}
    assert param_headers.check(found, good, {"a": {"b": 1}, "c": True}) is None
    assert param_headers.check(found, {}, {"a": 5}) is None
    assert param_headers.check(found, {}, None) is None
    assert isinstance(param_headers.check(found, good, {"a": {"b": 1}, "c": True}, {b"mcp-param-b"}), RpcError)


def keyring(*secrets: str, purpose: str = "p") -> SealingKeys:
    return SealingKeys([one.encode() for one in secrets], purpose)


NONCE = b"n" * 12


@pytest.mark.requirement("17.7", "17.8")
def test_a_sealed_text_is_for_one_use_and_time() -> None:
    keys = keyring("one", "two")
    text = keys.seal(b"payload", ("alice", "m"), nonce=NONCE, expires_at=100)
    assert keys.open(text, ("alice", "m"), now=100) == b"payload"
    assert keyring("two", "one").open(text, ("alice", "m"), now=1) == b"payload"
    for wrong, bound, now in (
        (keys, ("alice", "m"), 101),
        (keys, ("bob", "m"), 1),
        (keys, ("alicem",), 1),
        (keys, ("alice", "m", ""), 1),
        (keyring("three"), ("alice", "m"), 1),
        (keyring("one", purpose="q"), ("alice", "m"), 1),
    ):
        with pytest.raises(InvalidSealedValue):
            wrong.open(text, bound, now=now)


@pytest.mark.parametrize("text", ["", "a", "ä", "%%%", "A" * 300_000, "AAAA", "AAAAAAAA", "AAAAAAB"])
def test_what_was_not_sealed_does_not_open(text: str) -> None:
    with pytest.raises(InvalidSealedValue):
        keyring("one").open(text, (), now=0)


def test_another_spelling_of_a_sealed_text_does_not_open() -> None:
    keys = keyring("one")
    text = keys.seal(b"payload", (), nonce=NONCE, expires_at=9)
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    same = [
        text[:-1] + c
        for c in last
        if base64.urlsafe_b64decode(text[:-1] + c + "==") == base64.urlsafe_b64decode(text + "==")
    ]
    assert len(same) > 1
    for one in same:
        if one != text:
            with pytest.raises(InvalidSealedValue):
                keys.open(one, (), now=0)
    truncated = base64.urlsafe_b64encode(base64.urlsafe_b64decode(text + "==")[:10]).decode().rstrip("=")
    with pytest.raises(InvalidSealedValue):
        keys.open(truncated, (), now=0)


def test_a_cursor_is_for_one_list_and_caller() -> None:
    keys = keyring("one")
    made = cursor.make(keys, "last", ("tools/list", "alice"), nonce=NONCE, now=0)
    assert cursor.read(keys, made, ("tools/list", "alice"), now=1) == "last"
    assert cursor.read(keys, made, ("prompts/list", "alice"), now=1) is None
    assert cursor.read(keys, made, ("tools/list", "alice"), now=cursor.LIFETIME_S + 1) is None


def test_events_have_the_standards_form() -> None:
    assert sse.event(b"{}") == b"data: {}\n\n"
    assert sse.event(b"{}", "s.1") == b"id: s.1\ndata: {}\n\n"
    assert sse.priming("s.0") == b"id: s.0\ndata: \n\n"
    assert sse.retry(5) == b"retry: 5\n\n"
    assert sse.parse_id("w-a.7") == sse.EventId("w-a", 7)
    for odd in ("", "a", "a.", ".1", "a.b", "a.-1", "a." + "1" * 10, "x" * 65 + ".1", "a b.1", "ä.1", "a.\u0661"):
        assert sse.parse_id(odd) is None


def line(message: Any) -> bytes:
    return json.dumps(message).encode()


@pytest.mark.requirement("26.3")
def test_a_line_tells_its_era_by_its_envelope() -> None:
    assert isinstance(inbound.classify_line(line(wire.modern("tools/list"))), Modern)
    assert isinstance(inbound.classify_line(line(wire.legacy("ping"))), Legacy)
    assert isinstance(inbound.classify_line(line({"jsonrpc": "2.0", "method": "x"})), Legacy)
    assert isinstance(inbound.classify_line(line([wire.legacy("ping")])), LegacyBatch)
    for message, code in (
        (wire.modern("tools/list", version="v9"), -32022),
        (wire.legacy("tools/list", {"_meta": {f"{wire.PREFIX}protocolVersion": wire.MODERN}}), -32602),
        (wire.legacy("tools/list", {"_meta": []}), -32602),
        (5, -32600),
    ):
        found = inbound.classify_line(line(message))
        assert isinstance(found, RpcError)
        assert found.code == code
