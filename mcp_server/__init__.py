"""An MCP server over a REST API, protected by Keycloak; start at `McpServer` and `create_app`.

The public names are imported when first used (PEP 562): `import mcp_server.protocol`, which imports this package first,
so loads no web framework.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from mcp_server.version import __version__

if TYPE_CHECKING:
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
    from mcp_server.registry.requirement import NeedsScopes, any_of
    from mcp_server.registry.scope import Scope
    from mcp_server.registry.server import McpServer
    from mcp_server.settings import Settings, SettingsError
    from mcp_server.web.guards import principal_of, requires_scopes

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
    "NeedsScopes",
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
    "any_of",
    "create_app",
    "elicitation",
    "mcp_header",
    "principal_of",
    "requires_scopes",
    "roots",
    "sampling",
    "url_elicitation",
]

# What the block above says to type checkers, for the running program; tests/architecture holds the two together.
_NAMES: Final = {
    "app": ("McpPlugin", "create_app"),
    "authoring.context": ("Context",),
    "authoring.errors": (
        "ClientRequestFailed",
        "InvalidClientAnswer",
        "MissingCapability",
        "ProtocolError",
        "ResourceNotFound",
        "ToolError",
        "UnsupportedType",
    ),
    "authoring.interaction": ("Question",),
    "authoring.questions": ("ElicitResult", "elicitation", "roots", "sampling", "url_elicitation"),
    "identity": ("Principal",),
    "protocol.types.content": (
        "Annotations",
        "AudioContent",
        "EmbeddedResource",
        "Icon",
        "ImageContent",
        "ResourceContents",
        "ResourceLink",
        "TextContent",
    ),
    "protocol.types.inputs": ("CreateMessageResult", "Root", "SamplingMessage"),
    "protocol.types.prompts": ("Completion", "GetPromptResult", "PromptMessage"),
    "protocol.types.tools": ("CallToolResult", "ToolAnnotations"),
    "registry.function": ("mcp_header",),
    "registry.requirement": ("NeedsScopes", "any_of"),
    "registry.scope": ("Scope",),
    "registry.server": ("McpServer",),
    "settings": ("Settings", "SettingsError"),
    "web.guards": ("principal_of", "requires_scopes"),
}
_MODULE_OF: Final = {name: f"mcp_server.{module}" for module, names in _NAMES.items() for name in names}


if not TYPE_CHECKING:  # a type checker that saw it would take every misspelt name for one of ours

    def __getattr__(name: str) -> Any:
        """A public name, imported now and kept: the next look-up does not come here."""
        if name not in _MODULE_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_MODULE_OF[name]), name)
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
