"""A worker that leaves: it goes in time, whatever does not close."""

import asyncio
import os
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from mcp_server import McpPlugin, McpServer, create_app, settings
from mcp_server.cli.serving import graceful
from tests.kit.logs import logged


@pytest.mark.parametrize("fails", [False, True])
async def test_a_worker_goes_though_something_does_not_close(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, fails: bool
) -> None:
    given = {"MCP_ISSUER": "http://localhost:9/realms/mcp", "MCP_AUDIT_FILE": str(tmp_path / "audit.jsonl")}
    plugin, closed = create_app(McpServer("s"), settings.load(given)).plugins.get(McpPlugin), list[str]()
    opened, gone = AsyncExitStack(), list[int]()
    plugin._opened = opened
    opened.callback(closed.append, "first opened")

    async def close() -> None:
        if fails:
            raise OSError("no room")

    opened.push_async_callback(close)
    monkeypatch.setattr(os, "_exit", gone.append)
    with logged() as lines:
        graceful._leave(plugin)
        await asyncio.gather(*graceful._leaving)
        graceful._leaving.clear()
    assert (closed, gone) == (["first opened"], [0])
    assert ("something did not close as it should" in [line["text"] for line in lines]) is fails


async def test_the_web_servers_end_waits_for_what_is_being_closed(tmp_path: Path) -> None:
    """The last connection may end while a worker leaves: the rest would be closed beside it, and the loop be over."""
    given = {"MCP_ISSUER": "http://localhost:9/realms/mcp", "MCP_AUDIT_FILE": str(tmp_path / "audit.jsonl")}
    app, closed = create_app(McpServer("s"), settings.load(given)), list[str]()
    plugin = app.plugins.get(McpPlugin)
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def close() -> None:
        begun.set()
        await may_end.wait()
        closed.append("what was opened last")

    async def leave() -> None:
        await begun.wait()
        for _ in range(100):
            await asyncio.sleep(0)
        closed.append("nothing yet")
        may_end.set()

    async with app.lifespan():
        assert plugin._opened is not None
        plugin._opened.callback(closed.append, "the rest")
        plugin._opened.push_async_callback(close)
        leaving = asyncio.gather(plugin.close_now(), leave())
        await begun.wait()
    closed.append("the application")
    left, _ = await leaving
    assert left
    assert closed == ["nothing yet", "what was opened last", "the rest", "the application"]
