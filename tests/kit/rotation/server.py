"""A server whose tools use what is rotated: an API with a key, and a process that sees what its parent left it."""

import asyncio
import os
from pathlib import Path

from mcp_server import Context, McpServer

server = McpServer("rotating", version="1")


@server.tool
async def ask(ctx: Context) -> str:
    """Call the API, which wants its key."""
    return str((await ctx.upstream("api").get("/x")).text)


@server.tool
async def child() -> dict[str, str]:
    """Tell the environment and the command line of a child, as the system has them, and whose child it is."""
    process = await asyncio.create_subprocess_exec("sleep", "60")
    try:
        place = Path(f"/proc/{process.pid}")
        told = (place / "environ").read_text() + (place / "cmdline").read_text()
    finally:
        process.kill()
        await process.wait()
    return {"worker": str(os.getpid()), "told": told}
