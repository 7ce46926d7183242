"""What a server says unasked: progress, log, changes (2026-07-28 basic/patterns, server/utilities/logging)."""

from typing import Any, Final, Literal, get_args

import msgspec
from msgspec import UNSET, Raw, UnsetType

from mcp_server.protocol.errors import RequestId

LogLevel = Literal["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"]
LOG_LEVELS: Final = {level: number for number, level in enumerate(get_args(LogLevel))}
SUBSCRIPTION_ID: Final = "io.modelcontextprotocol/subscriptionId"
LIST_CHANGED: Final = {kind: f"notifications/{kind}/list_changed" for kind in ("tools", "prompts", "resources")}
RESOURCE_UPDATED: Final = "notifications/resources/updated"
ACKNOWLEDGED: Final = "notifications/subscriptions/acknowledged"
CANCELLED: Final = "notifications/cancelled"
TASK_CHANGED: Final = "notifications/tasks"


class ProgressParams(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """How far a call is; `progress` only grows."""

    progress_token: RequestId
    progress: float
    total: float | None = None
    message: str | None = None


class MessageParams(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line of a handler's log, for the client."""

    level: LogLevel
    data: Any
    logger: str | None = None


class SetLevelParams(msgspec.Struct, frozen=True):
    """The lowest level that a legacy session wants."""

    level: LogLevel


class CancelledParams(msgspec.Struct, frozen=True, rename="camel"):
    """Which request is cancelled."""

    request_id: RequestId
    reason: str = ""


class SubscriptionFilter(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What a listener subscribes to."""

    tools_list_changed: bool = False
    prompts_list_changed: bool = False
    resources_list_changed: bool = False
    resource_subscriptions: list[str] = msgspec.field(default_factory=list)
    task_ids: list[str] = msgspec.field(default_factory=list)


class ListenParams(msgspec.Struct, frozen=True):
    """The parameters of `subscriptions/listen`."""

    notifications: SubscriptionFilter


class _Notification(msgspec.Struct):
    method: str
    params: Any | UnsetType = UNSET
    jsonrpc: Literal["2.0"] = "2.0"


_encode = msgspec.json.Encoder().encode


def encode(method: str, params: object = UNSET) -> bytes:
    """The bytes of a notification."""
    return _encode(_Notification(method, params))


def tagged(method: str, params: dict[str, Any], subscription: RequestId | None) -> bytes:
    """A notification for a listener; modern ones carry the id of the request that listens, its JSON type kept."""
    if subscription is not None:
        params = {**params, "_meta": {SUBSCRIPTION_ID: subscription}}
    return encode(method, params or UNSET)


def acknowledged(honoured: Raw, subscription: RequestId) -> bytes:
    """The first frame of a listener: what of its filter is honoured."""
    return encode(ACKNOWLEDGED, {"notifications": honoured, "_meta": {SUBSCRIPTION_ID: subscription}})
