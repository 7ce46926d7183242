"""A server whose calls take long, block its loop, or end its process."""

import asyncio
import contextlib
import os
import threading
from pathlib import Path

from mcp_server import Context, McpServer, ToolAnnotations

server = McpServer("fragile")
waiting: list[float] = []


def beside(name: str) -> Path:
    """A file beside the audit."""
    return Path(os.environ["MCP_AUDIT_FILE"]).with_name(name)


async def _lasts(seconds: float, gate: str) -> None:
    """So many seconds, or until the test has made a file of this name: it knows when what it looks at has begun."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not (gate and beside(gate).exists()):  # noqa: ASYNC110 - another process makes it
                await asyncio.sleep(0.02 if gate else seconds)


@server.tool(scopes={"mcp:read"})
async def wait(seconds: float, gate: str = "") -> str:
    """Answer after so many seconds, or when the gate is there."""
    waiting.append(seconds)
    await _lasts(seconds, gate)
    return "waited"


@server.tool(scopes={"mcp:read"})
async def begun() -> str:
    """How many calls of `wait` have begun."""
    return str(len(waiting))


@server.tool(scopes={"mcp:read"})
async def block() -> str:
    """Never give the loop back."""
    threading.Event().wait()
    return "never"


@server.tool(scopes={"mcp:read"})
async def crash() -> str:
    """End the process, as a fault in a library in C does."""
    os._exit(3)


@server.tool(scopes={"mcp:read"})
async def process() -> str:
    """Which process answers."""
    return str(os.getpid())


async def _count(name: str, seconds: float, gate: str) -> str:
    with beside("ran").open("a") as ran:
        ran.write(f"{name} {os.getpid()}\n")
    await _lasts(seconds, gate)
    return name


@server.tool(scopes={"mcp:read"}, task="allowed", annotations=ToolAnnotations(idempotent_hint=True))
async def count(name: str, seconds: float, ctx: Context, gate: str = "") -> str:
    """Write down each run, and answer after so many seconds, or when the gate is there, with the number of the run."""
    await _count(name, seconds, gate)
    return str(ctx.task_attempt)


@server.tool(scopes={"mcp:read"}, task="allowed")
async def act(name: str, seconds: float, gate: str = "") -> str:
    """The same, of what may not be done twice."""
    return await _count(name, seconds, gate)
