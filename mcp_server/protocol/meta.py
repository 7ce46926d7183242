"""`params._meta`: the keys this server reads, and the peek into params (2026-07-28 basic §_meta)."""

from typing import Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from mcp_server.protocol.errors import UNREADABLE

PREFIX: Final = "io.modelcontextprotocol/"
PROTOCOL_VERSION: Final = PREFIX + "protocolVersion"
CLIENT_CAPABILITIES: Final = PREFIX + "clientCapabilities"
SERVER_INFO: Final = PREFIX + "serverInfo"
LOG_LEVEL: Final = PREFIX + "logLevel"


_BRACE: Final = ord("{")


class Meta(msgspec.Struct, frozen=True):
    """What a request says of itself; any other key is left alone."""

    protocol_version: str | UnsetType = msgspec.field(default=UNSET, name=PROTOCOL_VERSION)
    client_capabilities: Raw | UnsetType = msgspec.field(default=UNSET, name=CLIENT_CAPABILITIES)
    progress_token: str | int | UnsetType = msgspec.field(default=UNSET, name="progressToken")
    log_level: Raw | UnsetType = msgspec.field(default=UNSET, name=LOG_LEVEL)
    traceparent: str | UnsetType = UNSET
    tracestate: str | UnsetType = UNSET


NO_META: Final = Meta()


class RoutingFields(msgspec.Struct, frozen=True):
    """The members of params that routing looks at before the method's own decoder runs."""

    meta: Meta = msgspec.field(default=NO_META, name="_meta")
    name: Raw | UnsetType = UNSET
    uri: Raw | UnsetType = UNSET
    task_id: Raw | UnsetType = msgspec.field(default=UNSET, name="taskId")
    arguments: Raw | UnsetType = UNSET
    request_state: Raw | UnsetType = msgspec.field(default=UNSET, name="requestState")
    input_responses: Raw | UnsetType = msgspec.field(default=UNSET, name="inputResponses")


class _KeysOnly(msgspec.Struct):
    meta: dict[str, Raw] = msgspec.field(default_factory=dict, name="_meta")


peek = msgspec.json.Decoder(RoutingFields).decode
_decode_keys = msgspec.json.Decoder(_KeysOnly).decode
_decode_text = msgspec.json.Decoder(str).decode


def names_a_version(params: Raw) -> bool:
    """Whether `_meta` holds the version key at all, of whatever type: such a request is a modern one."""
    try:
        return PROTOCOL_VERSION in _decode_keys(params).meta
    except UNREADABLE:
        return False


def is_object(raw: Raw | UnsetType) -> bool:
    """Whether a raw value is there and is a JSON object."""
    return raw is not UNSET and memoryview(raw)[0] == _BRACE


def text(raw: Raw | UnsetType) -> str | None:
    """A raw value as text, or None where it is absent or no string."""
    if raw is UNSET:
        return None
    try:
        return _decode_text(raw)
    except UNREADABLE:
        return None
