"""No request makes the endpoint answer 500, and each leaves its line in the audit."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcp_server.app import FastPathApp
from mcp_server.observe.audit import beside
from tests.kit import wire
from tests.kit.servers.conformance import server
from tests.kit.stack import Stack, running_stack

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
METHODS = st.sampled_from(
    ["ping", "initialize", "tools/list", "tools/call", "resources/read", "prompts/get", "completion/complete",
     "server/discover", "tasks/get", "logging/setLevel", "resources/subscribe", "nothing", "notifications/cancelled"]
)  # fmt: skip
CALLS = st.builds(
    lambda method, params, modern: (wire.modern if modern else wire.legacy)(method, params),
    METHODS,
    st.dictionaries(st.sampled_from(["name", "uri", "arguments", "requestState", "taskId", "cursor", "ref"]), JSON),
    st.booleans(),
).map(msgspec.json.encode)
HURT = st.sampled_from(
    [
        b"\xff",
        b"\xed\xa0\x80",
        b'"\\ud800"',
        b"1" + b"0" * 400,
        b"1e999",
        b"[" * 960 + b"]" * 960,
        b"[" * 100_000,
        b"\x00",
    ]
)


@st.composite
def spoiled(draw: st.DrawFn) -> bytes:
    """A message with something hurtful put into it somewhere."""
    body = draw(CALLS)
    place = draw(st.integers(0, len(body)))
    return body[:place] + draw(HURT) + body[place + draw(st.integers(0, 3)) :]


BODIES = st.binary(max_size=100) | CALLS | spoiled() | JSON.map(msgspec.json.encode)
VALUES = st.binary(max_size=20) | st.sampled_from(
    [b"2026-07-28", b"2025-11-25", b"2025-03-26", b"tools/call", b"ping", b"gzip", b"localhost", b"a@localhost", b"null",
     b"http://localhost:1@evil.example", b"application/json", b"text/event-stream", b"7", b"=?base64?/w==?=", b"\xff"]
)  # fmt: skip
NAMES = st.sampled_from(
    [b"mcp-protocol-version", b"mcp-method", b"mcp-name", b"mcp-session-id", b"last-event-id", b"accept", b"host",
     b"origin", b"content-type", b"content-encoding", b"content-length", b"traceparent", b"x-forwarded-for",
     b"mcp-param-region", b"access-control-request-headers", b"dpop", b"authorization"]
)  # fmt: skip


class Asked:
    """The front of a running server, asked without a socket."""

    def __init__(self, runner: asyncio.Runner, stack: Stack, token: bytes) -> None:
        self._runner, self._stack, self._token = runner, stack, token
        self._front: FastPathApp = stack.watched._app

    def request(self, method: str, more: list[tuple[bytes, bytes]], body: bytes, *, known: bool) -> tuple[int, int]:
        """The status, and how many lines it left; a GET that listens is hung up on."""
        usual = {b"host": b"localhost", b"content-type": b"application/json"}
        if known:
            usual[b"authorization"] = b"Bearer " + self._token
        given = {name for name, _ in more}
        headers = [(name, value) for name, value in usual.items() if name not in given] + more
        scope = {
            "type": "http", "method": method, "path": "/mcp", "raw_path": b"/mcp", "query_string": b"",
            "headers": headers, "client": ("127.0.0.1", 5), "http_version": "1.1", "scheme": "http",
        }  # fmt: skip
        before = self._lines()
        status = self._runner.run(self._answer(scope, body))
        return status, self._lines() - before

    def _lines(self) -> int:
        """Counted and not read: hundreds of requests share one audit."""
        self._stack.plugin._audit.flush()
        files = (self._stack.audit, beside(self._stack.audit))
        return sum(path.read_bytes().count(b"\n") for path in files if path.exists())

    async def _answer(self, scope: dict[str, Any], body: bytes) -> int:
        messages = [{"type": "http.request", "body": body, "more_body": False}, {"type": "http.disconnect"}]
        said: list[Any] = []

        async def receive() -> Any:
            return messages.pop(0) if len(messages) > 1 else messages[0]

        async def send(message: Any) -> None:
            said.append(message)

        async with asyncio.timeout(60):
            await self._front(scope, receive, send)
        return int(said[0]["status"])


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    with asyncio.Runner() as runner:
        folder = Path(tmp_path_factory.mktemp("any"))
        running = running_stack(folder, server, max_calls_per_second_per_principal="100000")
        stack = runner.run(running.__aenter__())
        try:
            yield Asked(runner, stack, runner.run(stack.token("carol", "mcp:admin")).encode())
        finally:
            runner.run(running.__aexit__(None, None, None))


@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    method=st.sampled_from(["POST"] * 6 + ["GET", "DELETE", "OPTIONS", "HEAD", "PUT", "\u00e9", ""]),
    more=st.lists(st.tuples(NAMES, VALUES), max_size=4),
    body=BODIES,
    known=st.booleans() | st.just(True),
)
def test_any_request_is_answered_and_leaves_one_line(
    asked: Asked, method: str, more: list[tuple[bytes, bytes]], body: bytes, known: bool
) -> None:
    status, lines = asked.request(method, more, body, known=known)
    assert status < 500
    batch = body.lstrip(b" \t\r\n").startswith(b"[")
    assert lines == 1 or (batch and lines > 1)
