"""Resources, their templates and `resources/read` (2026-07-28 server/resources)."""

from typing import Any

import msgspec

from mcp_server.protocol.types.content import Annotations, Icon, ResourceContents
from mcp_server.protocol.types.results import Cacheable


class ResourceEntry(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A resource as `resources/list` shows it."""

    uri: str
    name: str
    title: str | None = None
    description: str | None = None
    mime_type: str | None = None
    size: int | None = None
    icons: list[Icon] | None = None
    annotations: Annotations | None = None
    meta: dict[str, Any] | None = msgspec.field(default=None, name="_meta")


class TemplateEntry(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A family of resources as `resources/templates/list` shows it."""

    uri_template: str
    name: str
    title: str | None = None
    description: str | None = None
    mime_type: str | None = None
    icons: list[Icon] | None = None
    annotations: Annotations | None = None
    meta: dict[str, Any] | None = msgspec.field(default=None, name="_meta")


class ReadResourceResult(Cacheable, frozen=True, rename="camel", kw_only=True):
    """What was read; never empty."""

    contents: list[ResourceContents]
