"""Content blocks of tool results and prompts (2026-07-28 server/tools §Tool Result)."""

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType


class Annotations(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Hints on a block: for whom it is, how much it matters (0 to 1), when it changed (ISO 8601)."""

    audience: list[Literal["user", "assistant"]] | None = None
    priority: float | None = None
    last_modified: str | None = None


class Icon(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A picture for lists: `src` is an https or data URI, `sizes` are like `48x48` or `any`."""

    src: str
    mime_type: str | None = None
    sizes: list[str] | None = None
    theme: Literal["light", "dark"] | None = None


class _Block(msgspec.Struct, frozen=True, kw_only=True):
    annotations: Annotations | UnsetType = UNSET
    meta: dict[str, Any] | UnsetType = msgspec.field(default=UNSET, name="_meta")


class TextContent(_Block, frozen=True, tag_field="type", tag="text"):
    """Text for the model."""

    text: str


class ImageContent(_Block, frozen=True, tag_field="type", tag="image", rename="camel"):
    """An image; `data` is Base64."""

    data: str
    mime_type: str


class AudioContent(_Block, frozen=True, tag_field="type", tag="audio", rename="camel"):
    """Sound; `data` is Base64."""

    data: str
    mime_type: str


class ResourceLink(_Block, frozen=True, tag_field="type", tag="resource_link", rename="camel", omit_defaults=True):
    """A pointer to a resource that the client may read; absent in 2025-03-26."""

    uri: str
    name: str
    mime_type: str | None = None
    description: str | None = None


class ResourceContents(msgspec.Struct, frozen=True, rename="camel"):
    """What a resource holds: either `text` or `blob`, which is Base64."""

    uri: str
    text: str | UnsetType = UNSET
    blob: str | UnsetType = UNSET
    mime_type: str | UnsetType = UNSET
    meta: dict[str, Any] | UnsetType = msgspec.field(default=UNSET, name="_meta")


class EmbeddedResource(_Block, frozen=True, tag_field="type", tag="resource"):
    """A resource's contents in place."""

    resource: ResourceContents


ContentBlock = TextContent | ImageContent | AudioContent | ResourceLink | EmbeddedResource
CONTENT_TYPES = (TextContent, ImageContent, AudioContent, ResourceLink, EmbeddedResource)
