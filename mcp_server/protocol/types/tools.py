"""`tools/list` and `tools/call` (2026-07-28 server/tools)."""

from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from mcp_server.protocol.types.content import ContentBlock


class ToolAnnotations(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Hints for clients; None leaves the specification's default (destructive, open world)."""

    title: str | None = None
    read_only_hint: bool | None = None
    destructive_hint: bool | None = None
    idempotent_hint: bool | None = None
    open_world_hint: bool | None = None


class ToolEntry(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A tool as `tools/list` shows it."""

    name: str
    description: str
    input_schema: dict[str, Any]
    title: str | None = None
    output_schema: dict[str, Any] | None = None
    annotations: ToolAnnotations | None = None


class ListParams(msgspec.Struct, frozen=True):
    """What every list takes."""

    cursor: str | UnsetType = UNSET


class ListToolsResult(msgspec.Struct, frozen=True, rename="camel"):
    """A page of tools; entries are encoded at start. The last four members are of the modern era."""

    tools: list[Raw]
    ttl_ms: int | UnsetType = UNSET
    cache_scope: str | UnsetType = UNSET
    result_type: str | UnsetType = UNSET
    meta: Raw | UnsetType = msgspec.field(default=UNSET, name="_meta")


class CallToolParams(msgspec.Struct, frozen=True):
    """Which tool, with what; arguments stay raw for the tool's own decoder."""

    name: str
    arguments: Raw | UnsetType = UNSET


class CallToolResult(msgspec.Struct, frozen=True, rename="camel"):
    """What a call came to; a handler may return one to choose every member itself."""

    content: list[ContentBlock]
    structured_content: Any | UnsetType = UNSET
    is_error: bool | UnsetType = UNSET
    result_type: str | UnsetType = UNSET
    meta: Any | UnsetType = msgspec.field(default=UNSET, name="_meta")
