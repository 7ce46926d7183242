"""An MCP server over a REST API, protected by Keycloak; start at `McpServer` and `create_app`."""

from mcp_server.app import McpPlugin, create_app
from mcp_server.authoring.context import Context
from mcp_server.authoring.errors import (
    ClientRequestFailed,
    InvalidClientAnswer,
    MissingCapability,
    ProtocolError,
    ResourceNotFound,
    ToolError,
    UnsupportedType,
)
from mcp_server.authoring.interaction import Question
from mcp_server.authoring.questions import ElicitResult, elicitation, roots, sampling, url_elicitation
from mcp_server.identity import Principal
from mcp_server.protocol.types.content import (
    Annotations,
    AudioContent,
    EmbeddedResource,
    Icon,
    ImageContent,
    ResourceContents,
    ResourceLink,
    TextContent,
)
from mcp_server.protocol.types.inputs import CreateMessageResult, Root, SamplingMessage
from mcp_server.protocol.types.prompts import Completion, GetPromptResult, PromptMessage
from mcp_server.protocol.types.tools import CallToolResult, ToolAnnotations
from mcp_server.registry.function import mcp_header
from mcp_server.registry.scope import Scope
from mcp_server.registry.server import McpServer
from mcp_server.settings import Settings, SettingsError
from mcp_server.version import __version__
from mcp_server.web.guards import requires_scopes

__all__ = [
    "Annotations",
    "AudioContent",
    "CallToolResult",
    "ClientRequestFailed",
    "Completion",
    "Context",
    "CreateMessageResult",
    "ElicitResult",
    "EmbeddedResource",
    "GetPromptResult",
    "Icon",
    "ImageContent",
    "InvalidClientAnswer",
    "McpPlugin",
    "McpServer",
    "MissingCapability",
    "Principal",
    "PromptMessage",
    "ProtocolError",
    "Question",
    "ResourceContents",
    "ResourceLink",
    "ResourceNotFound",
    "Root",
    "SamplingMessage",
    "Scope",
    "Settings",
    "SettingsError",
    "TextContent",
    "ToolAnnotations",
    "ToolError",
    "UnsupportedType",
    "__version__",
    "create_app",
    "elicitation",
    "mcp_header",
    "requires_scopes",
    "roots",
    "sampling",
    "url_elicitation",
]
