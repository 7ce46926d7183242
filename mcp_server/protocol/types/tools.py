"""`tools/list` and `tools/call` (2026-07-28 server/tools)."""

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from mcp_server.protocol.types.content import ContentBlock, Icon


class ToolAnnotations(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Hints for clients; None leaves the specification's default (destructive, open world)."""

    title: str | None = None
    read_only_hint: bool | None = None
    destructive_hint: bool | None = None
    idempotent_hint: bool | None = None
    open_world_hint: bool | None = None


class ToolEntry(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A tool as `tools/list` shows it; its schemas are objects, or JSON that is encoded already.

    `security_schemes` are no member of MCP's, whose schema lets others be there.
    """

    name: str
    description: str
    input_schema: Any
    title: str | None = None
    output_schema: Any = None
    annotations: ToolAnnotations | None = None
    icons: list[Icon] | None = None
    meta: dict[str, Any] | None = msgspec.field(default=None, name="_meta")
    security_schemes: list[dict[str, Any]] | None = None


class CallToolResult(msgspec.Struct, frozen=True, rename="camel"):
    """What a call came to; a handler may return one to choose every member itself."""

    content: list[ContentBlock]
    structured_content: Any | UnsetType = UNSET
    is_error: bool | UnsetType = UNSET
    result_type: str | UnsetType = UNSET
    meta: Any | UnsetType = msgspec.field(default=UNSET, name="_meta")
