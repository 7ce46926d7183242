"""Both transports within this process, without a socket: the endpoint of an application, and a client on a pipe."""

import asyncio
import io
import json
import re
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mcp_server import McpPlugin, McpServer, Principal, create_app, settings
from mcp_server.auth.tokens.bearer import NoCredentials
from mcp_server.engine.pipeline import Pipeline
from mcp_server.engine.runtime import Runtime
from mcp_server.engine.supervisor import CallSupervisors
from mcp_server.observe.audit import beside
from mcp_server.observe.recorder import CallRecorder
from mcp_server.stdio.channel import Output
from mcp_server.stdio.transport import Connection
from mcp_server.web import authn
from tests.kit import wire
from tests.kit.calls import limits
from tests.kit.principals import principal


class Reply(msgspec.Struct):
    """An answer; `status` and `challenge` are HTTP's."""

    body: Any
    status: int = 0
    challenge: str = ""

    def scopes(self) -> set[str]:
        """What the challenge asks for."""
        found = re.search(' scope="([^"]*)"', self.challenge)
        return set(found[1].split(" ")) if found else set()


DAY_S = 86_400


def caller(scopes: Iterable[str], **more: Any) -> Principal:
    """A person whose token lasts: some are made when tests are collected, and used by the last one of a long run."""
    document = json.dumps({"scope": " ".join(sorted(scopes))}).encode()
    who = msgspec.structs.replace(principal(scopes=scopes), expires_at=time.time() + DAY_S, document=document)
    return msgspec.structs.replace(who, **more)


class Said(Output):
    """A client's end of a pipe, as values."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO())
        self._lines = asyncio.Queue[Any]()

    async def send(self, message: bytes) -> None:
        self._lines.put_nowait(json.loads(message))

    async def answer(self) -> Any:
        """The next line that is no notification."""
        async with asyncio.timeout(60):
            while isinstance(line := await self._lines.get(), dict) and "method" in line:
                pass
        return line


async def post(
    plugin: McpPlugin,
    body: Any,
    sent: list[dict[str, Any]],
    gone: asyncio.Event | None = None,
    /,
    **headers: str,
) -> None:
    """One POST to a plugin's endpoint, without a socket; what it sends is added to `sent`. Header names have `_`.

    Its client hangs up when `gone` is set.
    """
    content = json.dumps(body).encode()
    fields = {"host": "localhost:8000", "content-type": "application/json", "content-length": str(len(content))}
    fields |= {"accept": "application/json, text/event-stream", **headers}
    first = [{"type": "http.request", "body": content}]

    async def receive() -> dict[str, Any]:
        if first:
            return first.pop()
        await (gone or asyncio.Event()).wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()]
    scope = {"type": "http", "method": "POST", "path": "/mcp", "raw_path": b"/mcp", "query_string": b""}
    await plugin.endpoint({**scope, "client": ("127.0.0.1", 5), "headers": named}, receive, send)


class Inside:
    """One server on both transports; `who` calls next, None a stranger."""

    def __init__(self, plugin: McpPlugin, audit: Path) -> None:
        self.plugin, self._audit = plugin, audit
        self.who: Principal | None = None
        runtime = Runtime(plugin._server, plugin._settings.engine_config())
        recorder = CallRecorder(plugin._audit)
        self.pipeline = Pipeline(runtime, limits(), recorder, CallSupervisors())

    async def post(self, body: Any, **headers: str) -> Reply:
        """One POST to the endpoint; header names have `_` for `-`."""
        sent: list[dict[str, Any]] = []
        await post(self.plugin, body, sent, **headers)
        return _reply(sent)

    async def pipe(self, body: Any, revision: str) -> Reply:
        """One line to a pipe of its own, whose session has the revision."""
        assert self.who is not None
        said = Said()
        connection = Connection(self.pipeline, self.who, said)
        try:
            if revision != wire.MODERN:
                opening = wire.INITIALIZE | {"protocolVersion": revision}
                await connection.take(json.dumps(wire.legacy("initialize", opening)).encode())
                await said.answer()
            await connection.take(json.dumps(body).encode())
            return Reply(await said.answer())
        finally:
            await connection.close()

    def audited(self) -> list[dict[str, Any]]:
        """The lines since this was asked last."""
        self.plugin._audit.flush()
        files = [path for path in (self._audit, beside(self._audit)) if path.exists()]
        found = [json.loads(line) for path in files for line in path.read_bytes().splitlines()]
        for path in files:
            with path.open("r+b") as file:
                file.truncate()
        return found


def _reply(sent: list[dict[str, Any]]) -> Reply:
    head = {name.decode(): value.decode("latin-1") for name, value in sent[0]["headers"]}
    body = b"".join(one.get("body", b"") for one in sent[1:])
    if head.get("content-type") == "text/event-stream":
        events = [line.removeprefix(b"data: ") for line in body.splitlines() if line.startswith(b"data: ")]
        return Reply(json.loads(events[-1]), sent[0]["status"])
    challenges = [value for name, value in sent[0]["headers"] if name == b"www-authenticate"]
    assert len(challenges) <= 1
    return Reply(json.loads(body), sent[0]["status"], head.get("www-authenticate", ""))


@asynccontextmanager
async def inside(
    server: McpServer, folder: Path, monkeypatch: pytest.MonkeyPatch, **more: str
) -> AsyncIterator[Inside]:
    """The server, started; `more` are settings without their prefix. Callers are who a test says, not who a token."""
    audit = folder / "audit.jsonl"
    given = {"MCP_ISSUER": "http://localhost:9/realms/mcp", "MCP_AUDIT_FILE": str(audit)}
    given |= {f"MCP_{name.upper()}": value for name, value in more.items()}
    made = Inside(create_app(server, settings.load(given)).plugins.get(McpPlugin), audit)

    async def identify(*_: Any) -> Any:
        return made.who or NoCredentials()

    monkeypatch.setattr(authn, "identify", identify)
    made.plugin._audit.open()
    await made.plugin.runtime.start()
    await made.pipeline.runtime.start()
    try:
        yield made
    finally:
        await made.pipeline.runtime.stop()
        await made.plugin.runtime.stop()
        made.plugin._audit.close()
