"""The names of the semantic conventions that this server uses, and the version that they are pinned to.

MCP's are in `open-telemetry/semantic-conventions-genai` (`model/mcp`), all of them of status Development: what changes
there changes here, and nowhere else.
"""

from typing import Final

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/gen-ai-dev/1.42.0-dev"
SCOPE: Final = "mcp_server"

METHOD: Final = "mcp.method.name"
TOOL: Final = "gen_ai.tool.name"
PROMPT: Final = "gen_ai.prompt.name"
OPERATION: Final = "gen_ai.operation.name"
EXECUTE_TOOL: Final = "execute_tool"
RESOURCE_URI: Final = "mcp.resource.uri"
SESSION_ID: Final = "mcp.session.id"
PROTOCOL_VERSION: Final = "mcp.protocol.version"
REQUEST_ID: Final = "jsonrpc.request.id"
STATUS_CODE: Final = "rpc.response.status_code"
ERROR_TYPE: Final = "error.type"
TOOL_ERROR: Final = "tool_error"
OTHER: Final = "_OTHER"

HTTP_METHODS: Final = frozenset(
    {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"}
)
"""Those that are told as they are: of others, which anybody makes up, there is only that they are none of these."""

CLIENT_ADDRESS: Final = "client.address"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
TRANSPORT: Final = "network.transport"
PROTOCOL: Final = "network.protocol.name"
HTTP_METHOD: Final = "http.request.method"
HTTP_ROUTE: Final = "http.route"
HTTP_STATUS: Final = "http.response.status_code"
DB_SYSTEM: Final = "db.system.name"
DB_OPERATION: Final = "db.operation.name"

CALL_ID: Final = "mcp_server.request.id"
"""Ours: the id that the log and the audit have of the same request."""
API: Final = "mcp_server.api.name"
"""Ours: the API behind this server, as it is named in the configuration."""

OPERATION_DURATION: Final = "mcp.server.operation.duration"
SESSION_DURATION: Final = "mcp.server.session.duration"
DURATION_BOUNDS: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300)
"""In seconds, as the conventions advise."""

CALLERS_FAULT: Final = frozenset({-32700, -32600, -32601, -32602, -32002})
"""JSON-RPC codes that are the caller's, and so on the server no errors."""
