"""A handler that swallows its cancellation, whose times pass soon."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import pytest

from mcp_server import Context, McpServer, ToolAnnotations
from mcp_server.engine import supervisor
from mcp_server.limits import cancellation
from mcp_server.stdio import transport
from tests.kit.backends import settle

CALL: dict[str, Any] = {"name": "deaf", "arguments": {}}
GOES_ON = "a handler goes on though it was cancelled"
TASKS: dict[str, object] = {"extensions": {"io.modelcontextprotocol/tasks": {}}}


class Deaf:
    """A server whose tool goes on after so many cancellations, or until it is `freed`."""

    made: ClassVar[list["Deaf"]] = []

    def __init__(self, swallows: int = 1_000_000, *, speaks: bool = False, reads: bool = False) -> None:
        self.server, self.freed, self.begun = McpServer("s"), asyncio.Event(), asyncio.Event()
        self.cancelled, self.ended = asyncio.Semaphore(0), asyncio.Event()

        self.made.append(self)

        async def deaf(ctx: Context) -> str:
            if speaks:
                await ctx.progress(0.5)
            self.begun.set()
            swallowed = 0
            try:
                while not self.freed.is_set():
                    try:
                        await self.freed.wait()
                    except asyncio.CancelledError:
                        self.cancelled.release()
                        swallowed += 1
                        if swallowed > swallows:
                            raise
                await ctx.progress(1)
            finally:
                self.ended.set()
            return "what nobody hears"

        self.server.tool(task="allowed", annotations=ToolAnnotations(read_only_hint=reads))(deaf)


@asynccontextmanager
async def soon(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Around a test: nothing is waited for, and none of them goes on after it."""
    monkeypatch.setattr(supervisor, "ANSWER_S", 0.005)
    monkeypatch.setattr(cancellation, "AGAIN_S", 0.01)
    monkeypatch.setattr(transport, "CLOSE_S", 0.01)
    Deaf.made.clear()
    try:
        yield
    finally:
        for one in Deaf.made:  # else a test that fails never ends
            one.freed.set()
        await settle()
