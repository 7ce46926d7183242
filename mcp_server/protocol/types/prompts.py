"""Prompts and completion (2026-07-28 server/prompts, server/utilities/completion)."""

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from mcp_server.protocol.types.content import ContentBlock, Icon
from mcp_server.protocol.types.results import Result


class PromptArgument(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """An argument of a prompt; its value is always text."""

    name: str
    description: str | None = None
    required: bool = False
    title: str | None = None


class PromptEntry(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A prompt as `prompts/list` shows it."""

    name: str
    description: str
    title: str | None = None
    arguments: list[PromptArgument] | None = None
    icons: list[Icon] | None = None
    meta: dict[str, Any] | None = msgspec.field(default=None, name="_meta")


class PromptMessage(msgspec.Struct, frozen=True):
    """One message of a prompt."""

    role: Literal["user", "assistant"]
    content: ContentBlock


class GetPromptParams(msgspec.Struct, frozen=True):
    """Which prompt, with what."""

    name: str
    arguments: dict[str, str] = msgspec.field(default_factory=dict)


class GetPromptResult(Result, frozen=True, rename="camel", kw_only=True):
    """The messages of a prompt; a handler may return one to choose every member itself."""

    messages: list[PromptMessage]
    description: str | UnsetType = UNSET


class PromptRef(msgspec.Struct, frozen=True, tag_field="type", tag="ref/prompt"):
    """A prompt whose argument is completed."""

    name: str


class ResourceRef(msgspec.Struct, frozen=True, tag_field="type", tag="ref/resource"):
    """A resource template whose variable is completed."""

    uri: str


class CompletionArgument(msgspec.Struct, frozen=True):
    """What has been typed so far."""

    name: str
    value: str


class CompletionContext(msgspec.Struct, frozen=True):
    """Arguments already settled."""

    arguments: dict[str, str] = msgspec.field(default_factory=dict)


class CompleteParams(msgspec.Struct, frozen=True):
    """What to complete."""

    ref: PromptRef | ResourceRef
    argument: CompletionArgument
    context: CompletionContext = CompletionContext()


class Completion(msgspec.Struct, frozen=True, rename="camel"):
    """Up to 100 values, the likeliest first."""

    values: list[str]
    total: int | UnsetType = UNSET
    has_more: bool | UnsetType = UNSET


class CompleteResult(Result, frozen=True, rename="camel", kw_only=True):
    """The answer to `completion/complete`."""

    completion: Completion
