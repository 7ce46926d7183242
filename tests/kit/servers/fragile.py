"""A server whose calls take long, block its loop, or end its process."""

import asyncio
import os
import threading
from pathlib import Path

from mcp_server import Context, McpServer, ToolAnnotations

server = McpServer("fragile")
waiting: list[float] = []


@server.tool(scopes={"mcp:read"})
async def wait(seconds: float) -> str:
    """Answer after so many seconds."""
    waiting.append(seconds)
    await asyncio.sleep(seconds)
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


async def _count(name: str, seconds: float) -> str:
    with Path(os.environ["MCP_AUDIT_FILE"]).with_name("ran").open("a") as ran:
        ran.write(f"{name} {os.getpid()}\n")
    await asyncio.sleep(seconds)
    return name


@server.tool(scopes={"mcp:read"}, task="allowed", annotations=ToolAnnotations(idempotent_hint=True))
async def count(name: str, seconds: float, ctx: Context) -> str:
    """Write down each run, and answer after so many seconds with the number of the run."""
    await _count(name, seconds)
    return str(ctx.task_attempt)


@server.tool(scopes={"mcp:read"}, task="allowed")
async def act(name: str, seconds: float) -> str:
    """The same, of what may not be done twice."""
    return await _count(name, seconds)
