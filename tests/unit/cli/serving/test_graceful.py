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
