"""A server whose tool starts a process, as handlers do, and says what that one finds in its environment."""

import asyncio
import os

from mcp_server import McpServer

server = McpServer("inheriting", version="1")


@server.tool
async def environment() -> dict[str, str]:
    """Tell the environment of a child, and whose child it is."""
    child = await asyncio.create_subprocess_exec("env", stdout=asyncio.subprocess.PIPE)
    told, _ = await child.communicate()
    return {"worker": str(os.getpid()), "environment": told.decode()}


@server.tool
async def other() -> None:
    """Stand on another page."""
