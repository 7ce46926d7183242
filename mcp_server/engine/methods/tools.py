"""`tools/call`: arguments decoded, the handler run, its failures distinguished."""

from collections.abc import Callable
from typing import Any

from msgspec import UNSET, Raw, UnsetType

from mcp_server.authoring.context import Context
from mcp_server.authoring.errors import BadArguments, MissingCapability, SessionEnded, ToolError
from mcp_server.protocol import errors, meta, revisions
from mcp_server.protocol.errors import RpcError
from mcp_server.protocol.types.content import TextContent
from mcp_server.protocol.types.tools import CallToolResult
from mcp_server.registry.tool import Tool


async def call(
    tool: Tool,
    arguments: Raw | UnsetType,
    revision: str,
    context: Callable[[], Context],
    decoded: dict[str, Any] | None = None,
) -> CallToolResult | RpcError:
    """Run a tool; bad arguments and `ToolError` reach the model as text, in the revision's way. Raises the rest.

    `decoded` are the arguments where admission has read them already.
    """
    try:
        if decoded is None:
            decoded = tool.decode(arguments)
    except BadArguments as error:
        return bad_arguments(tool, arguments, revision, str(error))
    try:
        return await tool.call(decoded, context)
    except SessionEnded:
        raise
    except ToolError as error:
        return failed(str(error))
    except MissingCapability as error:
        if revision in revisions.MODERN_SET:
            return errors.missing_capability(error.required)
        return failed(f"{tool.name} cannot go on: {error}")


def bad_arguments(tool: Tool, arguments: Raw | UnsetType, revision: str, text: str) -> CallToolResult | RpcError:
    """What is told of arguments that do not fit, in the revision's way."""
    if arguments is not UNSET and not meta.is_object(arguments):
        return errors.invalid_params("arguments must be an object")  # no tool's matter: the request is malformed
    if revisions.reports_argument_errors_as_results(revision):
        return failed(f"Invalid arguments for {tool.name}: {text}")
    return errors.invalid_params(text)


def failed(text: str) -> CallToolResult:
    """A tool's failure as the model sees it."""
    return CallToolResult([TextContent(text)], is_error=True)
