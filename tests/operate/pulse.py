"""What listeners of the servers under load hear of, and the tool that tells them."""

from typing import Final

from mcp_server import Context, McpServer

PULSE: Final = "pulse://beat"


def offer_pulse(server: McpServer) -> None:
    """Offer a resource, and a tool that says that it has changed."""

    @server.resource(PULSE, scopes={"mcp:read"})
    async def beat() -> str:
        """What listeners hear of."""
        return "beat"

    @server.tool(scopes={"mcp:read"})
    async def pulse(ctx: Context) -> str:
        """Tell all listeners that the pulse has changed."""
        ctx.resource_updated(PULSE)
        return "told"
