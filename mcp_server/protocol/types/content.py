"""Content blocks of tool results and prompts (2026-07-28 server/tools §Tool Result)."""

from typing import Any

import msgspec


class TextContent(msgspec.Struct, frozen=True, tag_field="type", tag="text"):
    """Text for the model."""

    text: str


class ImageContent(msgspec.Struct, frozen=True, tag_field="type", tag="image", rename="camel"):
    """An image; `data` is Base64."""

    data: str
    mime_type: str


class AudioContent(msgspec.Struct, frozen=True, tag_field="type", tag="audio", rename="camel"):
    """Sound; `data` is Base64."""

    data: str
    mime_type: str


class ResourceLink(
    msgspec.Struct,
    frozen=True,
    tag_field="type",
    tag="resource_link",
    rename="camel",
    omit_defaults=True,
):
    """A pointer to a resource that the client may read; absent in 2025-03-26."""

    uri: str
    name: str
    mime_type: str | None = None
    description: str | None = None


class EmbeddedResource(msgspec.Struct, frozen=True, tag_field="type", tag="resource"):
    """A resource's contents in place: `uri`, `mimeType` and either `text` or `blob`."""

    resource: dict[str, Any]


ContentBlock = TextContent | ImageContent | AudioContent | ResourceLink | EmbeddedResource
CONTENT_TYPES = (TextContent, ImageContent, AudioContent, ResourceLink, EmbeddedResource)
