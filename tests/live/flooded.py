"""The server that `test_floods.py` floods."""

from mcp_server import McpServer

server = McpServer("flooded")


@server.tool(public=True)
async def hello() -> str:
    """Greet."""
    return "hello"


@server.resource("x://{id}", scopes={"mcp:read"})
async def thing(id: str) -> str:  # noqa: A002
    """A thing."""
    return id
