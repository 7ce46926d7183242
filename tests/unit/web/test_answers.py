"""One request has one answer, whatever fails beside its call; nothing goes on being sent when its task is over."""

import asyncio
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mcp_server import Context, McpPlugin, McpServer, create_app, settings
from mcp_server.store.backend import StoreUnavailable
from mcp_server.web import authn
from tests.kit import inside, wire
from tests.kit.backends import Linked, Workers, settle
from tests.kit.principals import principal

server = McpServer("answers")
gates: dict[str, asyncio.Event] = {}


@server.tool()
async def nap(name: str) -> str:
    """Say nothing until the gate opens."""
    await gates[name].wait()
    return "slept"


@server.tool()
async def talks(name: str, ctx: Context) -> str:
    """Speak, then wait."""
    await ctx.progress(1)
    await gates[name].wait()
    return "talked"


class Failing(Linked):
    """A store whose streams are slow to begin, and whose messages to others are lost."""

    def __init__(self, workers: Workers) -> None:
        super().__init__(workers, "w0")
        self.fails, self.asked, self.go = False, asyncio.Event(), asyncio.Event()

    async def keep(self, key: str, value: bytes, ttl_s: float, **how: Any) -> bool:
        if self.fails:
            self.asked.set()
            await self.go.wait()
            raise StoreUnavailable(key)
        return await super().keep(key, value, ttl_s, **how)

    async def publish(self, messages: Any) -> None:
        if self.fails:
            raise StoreUnavailable("away")
        await super().publish(messages)


class Requests:
    """The endpoint of an application, called without a socket; what it sent is kept."""

    def __init__(self, plugin: McpPlugin) -> None:
        self.plugin = plugin

    async def post(self, body: Any, sent: list[dict[str, Any]], **headers: str) -> None:
        await inside.post(self.plugin, body, sent, **headers)


@pytest.fixture
def backend() -> Failing:
    workers = Workers()
    made = Failing(workers)
    workers.all.append(made)
    return made


@pytest.fixture
def requests(tmp_path: Path, backend: Failing, monkeypatch: pytest.MonkeyPatch) -> Requests:
    who = msgspec.structs.replace(principal(), expires_at=time.time() + 900)

    async def identify(*_: Any) -> Any:
        return who

    monkeypatch.setattr(McpPlugin, "_backend", lambda _: backend)
    monkeypatch.setattr(authn, "identify", identify)
    given = {"MCP_ISSUER": "http://localhost:9", "MCP_AUDIT_FILE": str(tmp_path / "audit"), "MCP_KEEP_ALIVE_S": "0.1"}
    return Requests(create_app(server, settings.load(given)).plugins.get(McpPlugin))


async def test_a_failure_beside_an_opening_stream_makes_no_second_head(requests: Requests, backend: Failing) -> None:
    await requests.plugin.runtime.start()
    opened: list[dict[str, Any]] = []
    await requests.post(wire.legacy("initialize", wire.INITIALIZE | {"protocolVersion": "2025-03-26"}), opened)
    session = dict(opened[0]["headers"])[b"mcp-session-id"].decode()
    gates["nap"], backend.fails = asyncio.Event(), True
    batch = [
        wire.legacy("tools/call", {"name": "nap", "arguments": {"name": "nap"}}, 1),
        {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 99}},
    ]
    sent: list[dict[str, Any]] = []
    posting = asyncio.create_task(requests.post(batch, sent, mcp_session_id=session))
    async with asyncio.timeout(60):
        await backend.asked.wait()  # the silent call's stream is being opened
        gates["nap"].set()  # the batch goes on, and its notification cannot be told
        await settle()
        backend.go.set()
        await posting
    await settle()
    assert [one["type"] for one in sent].count("http.response.start") == 1
    assert [one for one in sent if one["type"] == "http.response.body" and not one.get("more_body")] == [sent[-1]]
    backend.fails = False
    await requests.plugin.runtime.stop()


async def test_a_request_whose_task_is_ended_beats_no_more(requests: Requests) -> None:
    await requests.plugin.runtime.start()
    sent: list[dict[str, Any]] = []
    gates["talk"] = asyncio.Event()
    message = wire.modern("tools/call", {"name": "talks", "arguments": {"name": "talk"}})
    message["params"]["_meta"]["progressToken"] = "t"
    named = {name.replace("_", "-"): value for name, value in wire.headers("tools/call", "talks").items()}
    posting = asyncio.create_task(requests.post(message, sent, **named))
    async with asyncio.timeout(60):
        while sum(b": " in one.get("body", b"") for one in sent) < 2:  # it beats
            await asyncio.to_thread(lambda: None)
        posting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await posting
        said = len(sent)
        later: list[dict[str, Any]] = []
        gates["other"] = asyncio.Event()
        message["params"]["arguments"]["name"] = "other"
        other = asyncio.create_task(requests.post(message, later, **named))
        while sum(b": " in one.get("body", b"") for one in later) < 3:  # as long as two beats more
            await asyncio.to_thread(lambda: None)
    assert len(sent) == said
    gates["other"].set()
    await other
    await requests.plugin.runtime.stop()
