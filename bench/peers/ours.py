"""This project's server with the tool that every peer offers."""

import msgspec

from mcp_server import McpServer

server = McpServer("bench", version="1.0.0")


class Sum(msgspec.Struct):
    """What `add` answers."""

    total: int


@server.tool(scopes={"mcp:read"})
async def add(a: int, b: int) -> Sum:
    """Add two numbers."""
    return Sum(total=a + b)
