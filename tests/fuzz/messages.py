"""Requests, headers, events and lines of a pipe: a value, a refusal from the table, or a line of JSON."""

import asyncio
import functools
import io
import json
from typing import Any, Final

from mcp_server.engine.pipeline import Pipeline
from mcp_server.engine.runtime import EngineConfig, Runtime
from mcp_server.engine.supervisor import CallSupervisors
from mcp_server.protocol import headers, inbound, jsonrpc, param_headers, sse
from mcp_server.protocol.errors import RpcError
from mcp_server.protocol.inbound import Legacy, LegacyBatch, Modern
from mcp_server.protocol.jsonrpc import Request
from mcp_server.stdio import transport
from mcp_server.stdio.channel import Output
from mcp_server.web.incoming import request_guard
from mcp_server.web.incoming.request_guard import HttpPolicy
from tests.fuzz.pieces import as_json, parts
from tests.kit.calls import RememberingRecorder, limits
from tests.kit.servers.pipe import server

CODES: Final = frozenset({-32700, -32600, -32602, -32020, -32022})
POLICY: Final = HttpPolicy(
    hosts=frozenset({b"localhost", b"localhost:8000"}), origins=frozenset({b"https://app.example"})
)


def message(data: bytes) -> None:
    """Headers and the body of a POST, then the body as a line."""
    fields, body = parts(data, 2)
    found = inbound.classify(_fields(fields), body)
    for one in (found, inbound.classify_line(body)):
        if isinstance(one, RpcError):
            _check_refusal(one)
        elif isinstance(one, LegacyBatch):
            assert isinstance(json.loads(body), list)
            assert one.items
            for item in one.items:
                if isinstance(item, RpcError):
                    _check_refusal(item)
        elif isinstance(one, Modern | Legacy):
            _check_request(one, body)


def http(data: bytes) -> None:
    """A request's line and headers, before its body is read."""
    method, fields = parts(data, 2)
    named = _fields(fields)
    reply = request_guard.check(named, method.decode("latin-1"), POLICY)
    if reply is None:
        assert named[b"host"].lower().partition(b":")[0] == b"localhost"
        origin = named.get(b"origin", b"https://app.example")
        assert origin.lower() == b"https://app.example"
        if method == b"POST":  # nothing else has a body that is read
            assert 0 <= (request_guard.declared_length(named) or 0) <= POLICY.max_body
    request_guard.prefers_stream(named)
    request_guard.takes_stream(named)


def param(data: bytes) -> None:
    """A schema with annotations, arguments, and the headers that repeat them."""
    schema, arguments, fields = parts(data, 3)
    given = as_json(schema)
    if not isinstance(given, dict):
        return
    try:
        declared = param_headers.find(given)
    except param_headers.BadAnnotation:
        return
    named, sent = _fields(fields), as_json(arguments)
    refused = param_headers.check(declared, named, sent)
    if refused is not None:
        _check_refusal(refused)
        return
    for one in declared:
        value = functools.reduce(lambda at, name: at.get(name) if isinstance(at, dict) else None, one.path, sent)
        assert (value is None) is (one.header not in named)
        if isinstance(value, str):
            assert headers.decode_value(named[one.header]) == value
        elif value is not None:
            assert json.loads(headers.decode_value(named[one.header])) == value


def event(data: bytes) -> None:
    """`Last-Event-ID`, and an event as a client of WHATWG's text reads it."""
    given = data.decode("latin-1")
    found = sse.parse_id(given)
    if found is not None:
        assert sse.parse_id(str(found)) == found
        said = jsonrpc.result(1, given)
        assert _read_event(sse.event(said, str(found))) == (str(found), said)
        assert ":" not in found.stream  # it is part of a key of the store


def line(data: bytes) -> None:
    """Lines of a client on a pipe: each that is said back is JSON-RPC, and has no traceback."""
    _loop().run_until_complete(_served(data))


async def _served(data: bytes) -> None:
    runtime = Runtime(server, EngineConfig(state_keys=(b"k" * 32,)))
    pipeline = Pipeline(runtime, limits(), RememberingRecorder(), CallSupervisors())
    said = io.BytesIO()
    connection = transport.Connection(pipeline, transport.desktop_user(server.declared_scopes()), Output(said))
    await runtime.start()
    try:
        for one in data.split(b"\n")[:20]:
            if one.strip():
                await connection.take(one)
        for _ in range(5):
            await asyncio.sleep(0)
    finally:
        await connection.close()
        await runtime.stop()
    for told in said.getvalue().splitlines():
        answer = json.loads(told)
        for each in answer if isinstance(answer, list) else [answer]:
            assert each["jsonrpc"] == "2.0"
            assert "method" in each or ("result" in each) is not ("error" in each)
            assert each.get("id") is None or isinstance(each["id"], str | int)
            assert "Traceback" not in told.decode()


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


def _fields(data: bytes) -> dict[bytes, bytes]:
    """Headers as a server hands them on: names in small letters, the last of equal ones."""
    pairs = (one.partition(b":") for one in data.split(b"\n") if b":" in one)
    return {name.strip().lower(): value.strip(b" ") for name, _, value in pairs}


def _check_refusal(error: RpcError) -> None:
    assert error.code in CODES
    assert error.status in (200, 400)
    written = json.loads(jsonrpc.failure(error))
    assert written["error"]["code"] == error.code
    assert len(written["error"]["message"]) < 2_000


def _check_request(found: Modern | Legacy, body: bytes) -> None:
    said = found.request if isinstance(found, Modern) else found.message
    value: Any = json.loads(body)
    assert value["jsonrpc"] == "2.0"
    if isinstance(said, Request):
        assert said.method == value["method"]
        assert said.id == value["id"]
        assert type(said.id) is type(value["id"])


def _read_event(frame: bytes) -> tuple[str, bytes]:
    """As HTML §9.2.6 has it: fields by line, the event at the empty line."""
    found = {"id": "", "data": ""}
    body, end, rest = frame.decode().replace("\r\n", "\n").replace("\r", "\n").partition("\n\n")
    assert (end, rest) == ("\n\n", "")
    for one in body.split("\n"):
        name, _, value = one.partition(":")
        found[name] += value.removeprefix(" ")
    return found["id"], found["data"].encode()
