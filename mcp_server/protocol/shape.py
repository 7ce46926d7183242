"""A result in the form of the caller's revision (checklist: modern results carry `resultType`, legacy ones never)."""

from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw

from mcp_server.protocol import revisions
from mcp_server.protocol.types.content import ResourceLink, TextContent
from mcp_server.protocol.types.tools import CallToolResult, ListToolsResult, ToolEntry

COMPLETE: Final = "complete"
_replace = msgspec.structs.replace
_encode = msgspec.json.Encoder().encode


def tool_entry(entry: ToolEntry, revision: str) -> Raw:
    """A tool as a revision lists it: legacy output schemas must be objects, 2025-03-26 has none at all."""
    if revision not in revisions.MODERN_SET:
        schema = entry.output_schema
        kept = revisions.has_structured_output(revision) and _is_object_schema(schema)
        titled = entry.title if revisions.has_structured_output(revision) else None
        entry = _replace(entry, output_schema=schema if kept else None, title=titled)
    return Raw(_encode(entry))


def _is_object_schema(schema: dict[str, Any] | None) -> bool:
    return schema is not None and schema.get("type") == "object"


def tools_page(entries: list[Raw], revision: str, *, ttl_ms: int, public: bool, server_meta: Raw) -> ListToolsResult:
    """A page of `tools/list`, with cache hints where the revision knows them."""
    if revision not in revisions.MODERN_SET:
        return ListToolsResult(entries)
    scope = "public" if public else "private"
    return ListToolsResult(entries, ttl_ms, scope, COMPLETE, server_meta)


def call_result(result: CallToolResult, revision: str, server_meta: Raw) -> CallToolResult:
    """A tool's result: the modern envelope, or the members that a legacy revision knows."""
    if revision in revisions.MODERN_SET:
        own = server_meta if result.meta is UNSET else _merged(result.meta, server_meta)
        return CallToolResult(result.content, result.structured_content, result.is_error, COMPLETE, own)
    kept = result.structured_content
    if kept is not UNSET and not (revisions.has_structured_output(revision) and _is_object(kept)):
        kept = UNSET
    content = result.content
    if not revisions.has_structured_output(revision):
        content = [_without_links(block) for block in content]
    return CallToolResult(content, kept, result.is_error, UNSET, result.meta)


def _is_object(value: Any) -> bool:
    encoded = value if isinstance(value, Raw) else _encode(value)
    return bytes(memoryview(encoded)[:1]) == b"{"


def _merged(own: Any, server_meta: Raw) -> dict[str, Any]:
    """The author's `_meta` with the server's key added."""
    return {**own, **msgspec.json.decode(server_meta)}


def _without_links(block: Any) -> Any:
    """2025-03-26 has no resource links: the model gets the address as text."""
    if isinstance(block, ResourceLink):
        return TextContent(f"{block.name}: {block.uri}")
    return block
