"""An MCP server over a REST API, protected by Keycloak; start at `McpServer` and `create_app`."""

from mcp_server.app import McpPlugin, create_app
from mcp_server.engine.context import Context
from mcp_server.engine.server import McpServer
from mcp_server.engine.tool import ToolError
from mcp_server.identity import Principal
from mcp_server.protocol.types.content import (
    AudioContent,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
)
from mcp_server.protocol.types.tools import CallToolResult, ToolAnnotations
from mcp_server.settings import Settings, SettingsError
from mcp_server.version import __version__
from mcp_server.web.guards import requires_scopes

__all__ = [
    "AudioContent",
    "CallToolResult",
    "Context",
    "EmbeddedResource",
    "ImageContent",
    "McpPlugin",
    "McpServer",
    "Principal",
    "ResourceLink",
    "Settings",
    "SettingsError",
    "TextContent",
    "ToolAnnotations",
    "ToolError",
    "__version__",
    "create_app",
    "requires_scopes",
]
