"""`tools/list` and `tools/call`: entries encoded at start, calls run and their failures told apart."""

from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import UNSET, Raw

from mcp_server.engine.context import Context
from mcp_server.engine.features.lifecycle import LIST_TTL_MS
from mcp_server.engine.server import McpServer
from mcp_server.engine.tool import BadArguments, Tool, ToolError
from mcp_server.identity import Principal, missing
from mcp_server.protocol import faults, revisions, shape
from mcp_server.protocol.faults import Rejection
from mcp_server.protocol.types.content import TextContent
from mcp_server.protocol.types.tools import CallToolResult, ListParams, ListToolsResult

_REVISIONS: Final = revisions.MODERN + revisions.LEGACY
_decode_list = msgspec.json.Decoder(ListParams).decode


class ToolList:
    """What `tools/list` shows in each revision; with `granted`, only what the caller may call."""

    def __init__(
        self,
        server: McpServer,
        needed: dict[str, frozenset[str]],
        *,
        granted: bool,
        server_meta: Raw,
    ) -> None:
        self._entries = {
            revision: [(needed[tool.name], shape.tool_entry(tool.entry, revision)) for tool in server.tools.values()]
            for revision in _REVISIONS
        }
        self._granted = granted
        self._public = server.has_public and not granted
        self._server_meta = server_meta

    def page(self, params: Raw, revision: str, principal: Principal | None) -> ListToolsResult | Rejection:
        """The only page; any cursor is one that we did not give out."""
        try:
            cursor = _decode_list(params).cursor
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return faults.invalid_params(str(error))
        if cursor is not UNSET:
            return faults.invalid_params("unknown cursor")
        entries = [
            entry for needed, entry in self._entries[revision] if not self._granted or not missing(needed, principal)
        ]
        return shape.tools_page(
            entries,
            revision,
            ttl_ms=LIST_TTL_MS,
            public=self._public,
            server_meta=self._server_meta,
        )


async def call(
    tool: Tool, arguments: Raw | msgspec.UnsetType, revision: str, context: Callable[[], Context]
) -> CallToolResult | Rejection:
    """Run a tool; bad arguments and `ToolError` reach the model as text, in the revision's way. Raises the rest."""
    try:
        decoded = tool.decode(arguments)
    except BadArguments as error:
        if revisions.reports_argument_errors_as_results(revision):
            return failed(f"Invalid arguments for {tool.name}: {error}")
        return faults.invalid_params(str(error))
    try:
        return await tool.call(decoded, context)
    except ToolError as error:
        return failed(str(error))


def failed(text: str) -> CallToolResult:
    """A tool's failure as the model sees it."""
    return CallToolResult([TextContent(text)], is_error=True)
