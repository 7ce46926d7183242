"""What a server asks of a client: elicitation, sampling, roots (2026-07-28 client/*, basic/patterns/mrtr)."""

from typing import Any, Literal

import msgspec
from msgspec import UNSET, Raw, UnsetType

from mcp_server.protocol.types.content import AudioContent, ImageContent, TextContent
from mcp_server.protocol.types.results import Result

ELICIT = "elicitation/create"
SAMPLE = "sampling/createMessage"
ROOTS = "roots/list"


class ElicitAnswer(msgspec.Struct, frozen=True):
    """A client's answer to an elicitation, its content not yet held against the form."""

    action: Literal["accept", "decline", "cancel"]
    content: Raw | UnsetType = UNSET


class SamplingMessage(msgspec.Struct, frozen=True):
    """A message for the client's model."""

    role: Literal["user", "assistant"]
    content: TextContent | ImageContent | AudioContent


class CreateMessageResult(msgspec.Struct, frozen=True, rename="camel"):
    """What the client's model said; `content` is a block or a list of blocks, as JSON values."""

    role: Literal["user", "assistant"]
    content: dict[str, Any] | list[dict[str, Any]]
    model: str
    stop_reason: str | None = None

    @property
    def text(self) -> str:
        """The text of all text blocks."""
        blocks = [self.content] if isinstance(self.content, dict) else self.content
        return "".join(str(block.get("text", "")) for block in blocks if block.get("type") == "text")


class Root(msgspec.Struct, frozen=True):
    """A folder that the client's user works in; informational only."""

    uri: str
    name: str | None = None


class ListRootsResult(msgspec.Struct, frozen=True):
    """The client's roots."""

    roots: list[Root]


class InputRequest(msgspec.Struct, frozen=True):
    """A question in an `input_required` result: like a request, without an id."""

    method: str
    params: Any | UnsetType = UNSET


class InputRequiredResult(Result, frozen=True, rename="camel", kw_only=True):
    """The round ends with questions; the client repeats the call with the answers and the state."""

    input_requests: dict[str, InputRequest]
    request_state: str
