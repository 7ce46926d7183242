"""A result in the form of the caller's revision (checklist: modern results carry `resultType`, legacy ones never)."""

from typing import Any, Final, TypeVar

import msgspec
from msgspec import UNSET, Raw

from mcp_server.protocol import revisions
from mcp_server.protocol.types.content import ResourceLink, TextContent
from mcp_server.protocol.types.prompts import GetPromptResult, PromptEntry, PromptMessage
from mcp_server.protocol.types.resources import ResourceEntry, TemplateEntry
from mcp_server.protocol.types.results import Cacheable, Result
from mcp_server.protocol.types.tools import CallToolResult, ToolEntry

COMPLETE: Final = "complete"
Listed = ToolEntry | ResourceEntry | TemplateEntry | PromptEntry
SomeResult = TypeVar("SomeResult", bound=Result)
_replace = msgspec.structs.replace
_encode = msgspec.json.Encoder().encode


def entry(listed: Listed, revision: str) -> Raw:
    """An entry as a revision lists it: no icons before 2025-11-25, no titles before 2025-06-18.

    Legacy output schemas must be objects, and 2025-03-26 has none at all.
    """
    if revision not in revisions.MODERN_SET:
        titled = revisions.has_structured_output(revision)
        icons = listed.icons if revisions.has_icons(revision) else None
        listed = _replace(listed, title=listed.title if titled else None, icons=icons)
        if isinstance(listed, ToolEntry):
            kept = titled and _is_object_schema(listed.output_schema)
            listed = _replace(listed, output_schema=listed.output_schema if kept else None)
    return Raw(_encode(listed))


def _is_object_schema(schema: Any) -> bool:
    found = msgspec.json.decode(schema) if isinstance(schema, Raw) else schema
    return isinstance(found, dict) and found.get("type") == "object"


def complete(result: SomeResult, revision: str, server_meta: Raw) -> SomeResult:
    """A whole result: the modern envelope, or nothing but what legacy revisions know."""
    if revision not in revisions.MODERN_SET:
        return result
    own = server_meta if result.meta is UNSET else _merged(result.meta, server_meta)
    return _replace(result, result_type=COMPLETE, meta=own)


def cacheable(result: Cacheable, revision: str, server_meta: Raw, *, ttl_ms: int, public: bool) -> Cacheable:
    """A whole result with hints on how long it may be kept, and whether for everybody."""
    if revision not in revisions.MODERN_SET:
        return result
    hinted = _replace(result, ttl_ms=ttl_ms, cache_scope="public" if public else "private")
    return complete(hinted, revision, server_meta)


def call_result(result: CallToolResult, revision: str, server_meta: Raw) -> CallToolResult:
    """A tool's result: the modern envelope, or the members that a legacy revision knows.

    Legacy structured content is an object, so another value becomes the `result` of one, as the official Python SDK
    does it. Left out, Gemini CLI 0.61 makes structured content of the text itself and refuses a list that it made.
    """
    if revision in revisions.MODERN_SET:
        own = server_meta if result.meta is UNSET else _merged(result.meta, server_meta)
        return CallToolResult(
            result.content,
            structured_content=result.structured_content,
            is_error=result.is_error,
            result_type=COMPLETE,
            meta=own,
        )
    kept = result.structured_content
    if kept is not UNSET:
        kept = _as_object(kept) if revisions.has_structured_output(revision) else UNSET
    content = result.content
    if not revisions.has_structured_output(revision):
        content = [_without_links(block) for block in content]
    return CallToolResult(content, structured_content=kept, is_error=result.is_error, meta=result.meta)


def prompt_result(result: GetPromptResult, revision: str, server_meta: Raw) -> GetPromptResult:
    """A prompt's messages; 2025-03-26 has no resource links in them."""
    if not revisions.has_structured_output(revision):
        messages = [PromptMessage(one.role, _without_links(one.content)) for one in result.messages]
        result = _replace(result, messages=messages)
    return complete(result, revision, server_meta)


def _as_object(value: Any) -> Any:
    encoded = memoryview(value if isinstance(value, Raw) else _encode(value))
    return value if bytes(encoded[:1]) == b"{" else Raw(b'{"result":%b}' % bytes(encoded))


def _merged(own: Any, server_meta: Raw) -> dict[str, Any]:
    """The author's `_meta` with the server's key added."""
    return {**own, **msgspec.json.decode(server_meta)}


def _without_links(block: Any) -> Any:
    """2025-03-26 has no resource links: the model gets the address as text."""
    if isinstance(block, ResourceLink):
        return TextContent(f"{block.name}: {block.uri}")
    return block
