"""`initialize` and `server/discover` (2025-11-25 basic/lifecycle; 2026-07-28 server/discover)."""

from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from mcp_server.protocol.types.content import Icon


class Implementation(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Who a server says it is."""

    name: str
    version: str
    title: str | None = None
    icons: list[Icon] | None = None
    website_url: str | None = None


class InitializeParams(msgspec.Struct, frozen=True, rename="camel"):
    """What a legacy client opens with; its own facts are informational and not read."""

    protocol_version: str
    capabilities: dict[str, Any]
    client_info: dict[str, Any]


class InitializeResult(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The revision agreed on and what the server offers in it."""

    protocol_version: str
    capabilities: dict[str, Any]
    server_info: Implementation
    instructions: str | None = None


class DiscoverResult(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What a modern client learns without a session."""

    supported_versions: list[str]
    capabilities: dict[str, Any]
    ttl_ms: int
    cache_scope: str
    result_type: str
    instructions: str | None = None
    meta: Raw | UnsetType = msgspec.field(default=UNSET, name="_meta")
