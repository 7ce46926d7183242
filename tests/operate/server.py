"""The server under test: each execution of its tools leaves two lines in a file, so that executions can be counted."""

import threading

from mcp_server import McpServer
from tests.operate.pulse import offer_pulse
from tests.operate.tally import counted, tally

server = McpServer("operate")


@server.tool(scopes={"mcp:read"})
async def work(call: str, seconds: float) -> str:
    """Take so many seconds."""
    return await counted(call, seconds)


@server.tool(scopes={"mcp:read"}, task="allowed")
async def job(call: str, seconds: float) -> str:
    """The same, as a task where the client can."""
    return await counted(call, seconds)


@server.tool(scopes={"mcp:read"})
async def large(call: str, kib: int) -> str:
    """An answer of so many KiB."""
    tally(call, "begun")
    tally(call, "ended")
    return "x" * (kib * 1024)


@server.tool(scopes={"mcp:read"})
async def block(call: str, seconds: float) -> str:
    """What an author must not do: the worker's loop stands still meanwhile."""
    tally(call, "begun")
    threading.Event().wait(seconds)
    tally(call, "ended")
    return f"done {call}"


offer_pulse(server)
