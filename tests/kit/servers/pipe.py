"""A server on a pipe in this process, and the client at its other end."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec

from mcp_server import Context, McpServer, mcp_header
from mcp_server.engine.pipeline import Limits, Pipeline
from mcp_server.engine.runtime import EngineConfig, Runtime
from mcp_server.engine.supervisor import CallSupervisors
from mcp_server.identity import Principal
from mcp_server.limits.concurrency import ConcurrencyLimiter
from mcp_server.limits.rate import RateLimiter
from mcp_server.observe.audit import AuditLog
from mcp_server.observe.recorder import CallRecorder
from mcp_server.stdio import transport
from tests.kit import schema, wire

FORM: dict[str, Any] = {"elicitation": {}}


server = McpServer("pipe")


fate: list[str] = []


class Yes(msgspec.Struct):
    yes: bool


@server.tool()
async def wait(ctx: Context) -> str:
    """Wait for the gate."""
    try:
        await ctx.pause()
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        fate.append("cancelled")
        raise
    return "waited"


@server.tool()
async def ask(ctx: Context) -> str:
    """Ask."""
    return (await ctx.elicit("Sure?", Yes)).action


@server.tool()
async def chatter(ctx: Context, hold: bool = False) -> str:
    """Go on speaking after the answer, or after the end."""

    async def late() -> None:
        await ctx.progress(2)
        fate.append("late")

    if not hold:
        server.state["late"] = late()
        return "answered"
    try:
        await ctx.progress(1)
        await asyncio.Event().wait()
    finally:
        await late()
    return ""


@server.tool(scopes={"mcp:admin"})
async def admin() -> str:
    """Need more."""
    return "admin"


@server.tool()
async def annotated(region: Annotated[str, mcp_header("Region")]) -> str:
    """Take what a header would repeat, if there were headers."""
    return region


@server.tool()
async def grow() -> str:
    """Add a tool for a moment."""
    server.tool("grown")(admin)
    server.remove_tool("grown")
    return "grown"


@server.resource("a://b")
async def resource() -> str:
    """Hold a text."""
    return "b"


class Client:
    """The other end of the pipe."""

    def __init__(self, write: int, lines: "asyncio.Queue[dict[str, Any]]") -> None:
        self._write, self.lines = write, lines
        self.revision = wire.MODERN

    def say(self, message: Any) -> None:
        os.write(self._write, (message if isinstance(message, bytes) else json.dumps(message).encode()) + b"\n")

    async def hear(self) -> Any:
        async with asyncio.timeout(60):
            return await self.lines.get()

    async def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        self.say(message)
        said = await self.hear()
        schema.check(said, message["method"], self.revision)
        answer: dict[str, Any] = said
        return answer


@asynccontextmanager
async def piped(
    who: Principal | None = None,
    *,
    audit: Path = Path(os.devnull),
    max_running: int = transport.MAX_RUNNING,
    limits: dict[str, Any] | None = None,
    **config: Any,
) -> AsyncIterator[Client]:
    """A server on a pipe in this process."""
    there, here = os.pipe()
    back, out = os.pipe()
    bounds: dict[str, Any] = {
        "calls": ConcurrencyLimiter(100),
        "rate": RateLimiter(1_000),
        "messages": RateLimiter(1_000),
        "call_timeout_s": 5,
    }
    runtime = Runtime(server, EngineConfig(state_keys=(b"k" * 32,), **config))
    log = AuditLog(str(audit))
    pipeline = Pipeline(runtime, Limits(**bounds | (limits or {})), CallRecorder(log), CallSupervisors())
    lines: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    who = who or transport.desktop_user(server.declared_scopes())
    source, output, said = os.fdopen(there, "rb"), os.fdopen(out, "wb"), os.fdopen(back, "rb")
    loop = asyncio.get_running_loop()

    def read() -> None:
        for line in said:
            loop.call_soon_threadsafe(lines.put_nowait, json.loads(line))

    running = asyncio.create_task(transport.run(pipeline, who, source, output, max_running=max_running))
    reading = asyncio.create_task(asyncio.to_thread(read))
    try:
        yield Client(here, lines)
    finally:
        os.close(here)
        async with asyncio.timeout(60):
            await running
        output.close()
        log.close()
        await reading
        source.close()
        said.close()


def opening(revision: str = "2025-11-25") -> dict[str, Any]:
    params = wire.INITIALIZE | {"protocolVersion": revision, "capabilities": FORM}
    return wire.legacy("initialize", params)


def call(tool: str, request_id: Any = 1) -> dict[str, Any]:
    return wire.modern("tools/call", {"name": tool, "arguments": {}}, request_id)
