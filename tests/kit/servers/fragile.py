"""A server whose calls take long, block its loop, or end its process."""

import asyncio
import os
import threading

from mcp_server import McpServer

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
