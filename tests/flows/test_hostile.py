"""Messages made by hand to hurt: each gets the code that belongs to it, and none a 500 or a trace."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, TextIO

import msgspec
import pytest

from tests.kit import wire
from tests.kit.servers.conformance import server
from tests.kit.stack import Stack, running_stack

M = wire.MODERN
VERSION, CAPABILITIES = wire.PREFIX + "protocolVersion", wire.PREFIX + "clientCapabilities"
Row = tuple[str, bytes, dict[str, str], int, int | None]

WRONG: dict[str, Any] = {
    "null": None,
    "true": True,
    "number": 5,
    "huge": 10**40,
    "negative": -(10**40),
    "fraction": 1e308,
    "text": "text",
    "long": "x" * 100_000,
    "list": [],
    "nested list": [[[[]]]],
    "object": {},
    "nul": "\x00",
    "emoji": "\U0001f600",
}
"""A value of each kind, to stand where another is due."""


def raw(message: Any) -> bytes:
    return json.dumps(message).encode()


def call(arguments: Any = None, **params: Any) -> dict[str, Any]:
    return wire.modern("tools/call", {"name": "greet", "arguments": arguments or {"name": "a"}, **params})


CALLED = wire.headers("tools/call", "greet")
LISTED = wire.headers("tools/list")
OLD = {"mcp_protocol_version": "2025-11-25"}


def deep(opening: bytes, closing: bytes, depth: int) -> bytes:
    head, tail = raw(call()).split(b'"arguments": {"name": "a"}')
    return head + b'"arguments": {"name": ' + opening * depth + closing * depth + b"}" + tail


def not_json() -> Iterator[Row]:
    bodies = {
        "empty": b"",
        "blank": b" \r\n\t",
        "one brace": b"{",
        "one bracket": b"[",
        "a word": b"hello",
        "NaN": b'{"jsonrpc":"2.0","id":NaN,"method":"ping"}',
        "Infinity": b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":Infinity}}',
        "trailing comma": b'{"jsonrpc":"2.0","id":1,"method":"ping",}',
        "single quotes": b"{'jsonrpc':'2.0','id':1,'method':'ping'}",
        "comment": b'{"jsonrpc":"2.0","id":1,"method":"ping"} // x',
        "two messages": b'{"jsonrpc":"2.0","id":1,"method":"ping"}{"jsonrpc":"2.0","id":2,"method":"ping"}',
        "two lines": b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n{"jsonrpc":"2.0","id":2,"method":"ping"}',
        "nul byte": b"\x00",
        "nul after": b'{"jsonrpc":"2.0","id":1,"method":"ping"}\x00',
        "byte order mark": b'\xef\xbb\xbf{"jsonrpc":"2.0","id":1,"method":"ping"}',
        "utf-16": '{"jsonrpc":"2.0","id":1,"method":"ping"}'.encode("utf-16"),
        "utf-32": '{"jsonrpc":"2.0","id":1,"method":"ping"}'.encode("utf-32"),
        "bad utf-8": b'{"jsonrpc":"2.0","id":1,"method":"\xc3\x28"}',
        "overlong utf-8": b'{"jsonrpc":"2.0","id":1,"method":"\xc0\xaf"}',
        "utf-8 surrogate": b'{"jsonrpc":"2.0","id":1,"method":"\xed\xa0\x80"}',
        "control in a text": b'{"jsonrpc":"2.0","id":1,"method":"a\x01b"}',
        "newline in a text": b'{"jsonrpc":"2.0","id":1,"method":"a\nb"}',
        "bad escape": b'{"jsonrpc":"2.0","id":1,"method":"\\x41"}',
        "short escape": b'{"jsonrpc":"2.0","id":1,"method":"\\u00"}',
        "lone high surrogate": b'{"jsonrpc":"2.0","id":1,"method":"\\ud800"}',
        "lone low surrogate": b'{"jsonrpc":"2.0","id":1,"method":"\\udc00"}',
        "surrogates reversed": b'{"jsonrpc":"2.0","id":1,"method":"\\udc00\\ud800"}',
        "lone surrogate in arguments": raw(call()).replace(b'"a"', b'"\\ud800"'),
        "leading zero": b'{"jsonrpc":"2.0","id":01,"method":"ping"}',
        "plus sign": b'{"jsonrpc":"2.0","id":+1,"method":"ping"}',
        "hex": b'{"jsonrpc":"2.0","id":0x1,"method":"ping"}',
        "half a number": b'{"jsonrpc":"2.0","id":1.,"method":"ping"}',
        "half an exponent": b'{"jsonrpc":"2.0","id":1e,"method":"ping"}',
        "undefined": b'{"jsonrpc":"2.0","id":undefined,"method":"ping"}',
        "truncated": raw(call())[:-1],
        "truncated text": raw(call())[:40],
        "html": b"<html></html>",
        "form": b"jsonrpc=2.0&id=1",
        "gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
    }
    for name, body in bodies.items():
        yield f"not JSON: {name}", body, {}, 400, -32700


def no_message() -> Iterator[Row]:
    ping = wire.legacy("ping")
    for name, value in WRONG.items():
        if not isinstance(value, dict | list):
            yield f"root is {name}", raw(value), {}, 400, -32600
        if name not in ("number", "negative", "huge", "text", "long", "nul", "emoji"):
            yield f"id is {name}", raw(ping | {"id": value}), {}, 400, -32600
        if not isinstance(value, str):
            yield f"method is {name}", raw(ping | {"method": value}), {}, 400, -32600
        if name != "object":
            yield f"params is {name}", raw(ping | {"params": value}), {}, 400, -32600
        yield f"jsonrpc is {name}", raw(ping | {"jsonrpc": value}), {}, 400, -32600
    for version in ("1.0", "2", "2.00", " 2.0", "2.0 ", ""):
        yield f"jsonrpc is {version!r}", raw(ping | {"jsonrpc": version}), {}, 400, -32600
    for name in ("id", "method", "jsonrpc"):
        message = {key: value for key, value in ping.items() if key != name}
        if name != "id":
            yield f"no {name}", raw(message), {}, 400, -32600
    yield "empty object", b"{}", {}, 400, -32600
    yield "result and method", raw(ping | {"result": {}}), {}, 200, None
    yield "result and error", raw({"jsonrpc": "2.0", "id": 1, "result": {}, "error": {}}), {}, 400, -32600
    yield "huge id", b'{"jsonrpc":"2.0","id":1' + b"0" * 400 + b',"method":"ping"}', {}, 200, None
    yield "endless id", b'{"jsonrpc":"2.0","id":1' + b"0" * 5000 + b',"method":"ping"}', {}, 400, -32700
    yield "exponent id", b'{"jsonrpc":"2.0","id":1e400,"method":"ping"}', {}, 400, -32700
    yield "long exponent", b'{"jsonrpc":"2.0","id":1e' + b"9" * 1000 + b',"method":"ping"}', {}, 400, -32700
    for depth in (1_000, 100_000):
        yield f"arrays {depth} deep", b"[" * depth + b"]" * depth, {}, 400, -32600
        yield f"objects {depth} deep", b'{"a":' * depth + b"1" + b"}" * depth, {}, 400, -32600
        yield f"arguments {depth} deep", deep(b"[", b"]", depth), CALLED, 400, -32600
    yield "open arrays", b"[" * 100_000, {}, 400, None
    yield "array", raw([ping]), {}, 400, -32600
    yield "array of rubbish", raw([1, "a", None]), {"mcp_protocol_version": "2025-03-26"}, 200, None
    yield "empty array", b"[]", {"mcp_protocol_version": "2025-03-26"}, 400, -32600
    yield "array in an array", raw([[ping]]), {"mcp_protocol_version": "2025-03-26"}, 200, None


def envelope() -> Iterator[Row]:
    for name, value in WRONG.items():
        message = call()
        message["params"]["_meta"] = value
        yield f"_meta is {name}", raw(message), CALLED, 400, -32602
        message = call()
        message["params"]["_meta"][VERSION] = value
        code = -32020 if isinstance(value, str) else -32602
        yield f"version is {name}", raw(message), CALLED, 400, code
        if name != "object":
            message = call()
            message["params"]["_meta"][CAPABILITIES] = value
            yield f"capabilities is {name}", raw(message), CALLED, 400, -32602
        if not isinstance(value, str) and name not in ("number", "huge", "negative"):
            message = call()
            message["params"]["_meta"]["progressToken"] = value
            yield f"progressToken is {name}", raw(message), CALLED, 400, -32602
        if not isinstance(value, str):
            message = call()
            message["params"]["_meta"]["traceparent"] = value
            yield f"traceparent is {name}", raw(message), CALLED, 400, -32602
        message = call()
        message["params"]["_meta"][wire.PREFIX + "logLevel"] = value
        yield f"logLevel is {name}", raw(message), CALLED, 200, -32602
    twice = raw(call()).replace(b'"id": 1', b'"id": 2, "id": 1')
    yield "id twice: the last one counts", twice, CALLED, 200, None
    method_twice = raw(call()).replace(b'"method": "tools/call"', b'"method": "tools/call", "method": "tools/list"')
    yield "method twice: the last one counts, and the header is held to it", method_twice, CALLED, 400, -32020
    name_twice = raw(call()).replace(b'"name": "greet"', b'"name": "greet", "name": "slow_compute"')
    yield "name twice: the last one counts, and the header is held to it", name_twice, CALLED, 400, -32020
    version_twice = raw(call()).replace(
        b'"' + VERSION.encode() + b'"', b'"' + VERSION.encode() + b'": "2025-11-25", "' + VERSION.encode() + b'"'
    )
    yield "version twice: the last one counts", version_twice, CALLED, 200, None
    yield "escaped keys are keys", raw(call()).replace(b'"method"', b'"m\\u0065thod"'), CALLED, 200, None


def calls() -> Iterator[Row]:
    for name, value in WRONG.items():
        if not isinstance(value, str):
            yield f"tool name is {name}", raw(wire.legacy("tools/call", {"name": value})), OLD, 200, -32602
        yield (
            f"arguments is {name}",
            raw(wire.legacy("tools/call", {"name": "greet", "arguments": value})),
            OLD,
            200,
            None if name == "object" else -32602,
        )
        if not isinstance(value, str):
            yield f"argument is {name}", raw(call({"name": value})), CALLED, 200, None
        if name != "null":
            yield f"cursor is {name}", raw(wire.modern("tools/list", {"cursor": value})), LISTED, 200, -32602
        if not isinstance(value, str):
            yield f"uri is {name}", raw(wire.legacy("resources/read", {"uri": value})), OLD, 200, -32602
        yield f"notifications is {name}", raw(wire.modern("subscriptions/listen", {"notifications": value if name != "object" else {"resourceSubscriptions": 5}})), wire.headers("subscriptions/listen"), 200, -32602  # fmt: skip
        yield (
            f"ref is {name}",
            raw(wire.legacy("completion/complete", {"ref": value, "argument": {"name": "a", "value": "b"}})),
            OLD,
            200,
            -32602,
        )
        yield f"requestState is {name}", raw(call(requestState=value)), CALLED, 200, -32602
        if name != "object":
            yield f"inputResponses is {name}", raw(call(inputResponses=value)), CALLED, 200, None
    for uri in ("test://template/../../etc/passwd/data", "test://template/%00/data", "file:///etc/passwd", "TEST://STATIC-TEXT", "test://template/%zz/data", "test://template//data", "\x00", "test://" + "a" * 100_000):  # fmt: skip
        body = raw(wire.legacy("resources/read", {"uri": uri}))
        yield f"uri {uri[:40]!r}", body, OLD, 200, None if uri == "TEST://STATIC-TEXT" else -32002
    for tool in ("__class__", "../greet", "greet\x00", "GREET", "", "a" * 100_000, "greet ", "__proto__"):
        yield f"tool {tool[:20]!r}", raw(wire.legacy("tools/call", {"name": tool})), OLD, 200, -32602
    for method in ("", "rpc.discover", "__init__", "tools/call/", "TOOLS/LIST", "tools\x00list", "a" * 100_000):
        yield f"method {method[:20]!r}", raw(wire.legacy(method)), OLD, 200, -32601


ROWS = [*not_json(), *no_message(), *envelope(), *calls()]


@pytest.fixture(scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with running_stack(Path(tmp_path_factory.mktemp("hostile")), server) as running:
        yield running


@pytest.fixture(scope="module")
async def token(stack: Stack) -> str:
    return await stack.token("carol", "mcp:read mcp:write mcp:admin")


def logged(log_file: TextIO) -> str:
    """The log of all tests so far."""
    log_file.flush()
    return Path(log_file.name).read_text()


def test_the_corpus_is_large_and_each_row_is_its_own() -> None:
    assert len(ROWS) >= 200
    assert len({row[0] for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize(("body", "headers", "status", "code"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
@pytest.mark.requirement("7.8", "8.27", "12.4")
async def test_a_hostile_message_gets_its_code(
    stack: Stack, token: str, log_file: TextIO, body: bytes, headers: dict[str, str], status: int, code: int | None
) -> None:
    before = len(logged(log_file))
    answer = await stack.post(body, token, **headers)
    assert answer.status_code == status, answer.text[:300]
    assert "Traceback" not in answer.text
    assert "failed" not in logged(log_file)[before:], "an exception was not foreseen"
    said = msgspec.json.decode(answer.content)
    found = said.get("error", {}).get("code") if isinstance(said, dict) else None
    if code is not None or status == 200:
        assert found == code, answer.text[:300]
