"""Event bus (publish/subscribe) between the parts of a server and between its workers."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec
from msgspec import UNSET, Raw, UnsetType

from mcp_server.observe.log import logger
from mcp_server.protocol.errors import UNREADABLE, RequestId
from mcp_server.store.backend import EVERYBODY, GAP, StateBackend
from mcp_server.store.outbox import MAX_WAITING, Outbox

LAST_S: Final = 0.5
"""How long an end waits for the others to be told: a store that is away takes nothing."""
Kind = TypeVar("Kind", bound="Event")


class Event(msgspec.Struct, frozen=True):
    """What happened; subclasses say what. A tag is on the wire: its name stays."""


class ListChanged(Event, frozen=True, tag=True):
    """One of the lists has changed."""

    kind: str


class ResourceUpdated(Event, frozen=True, tag=True):
    """A resource has changed."""

    uri: str


class SubscriptionsChanged(Event, frozen=True, tag=True):
    """A legacy session subscribed or unsubscribed."""

    session: str
    uris: list[str]


class StreamOpened(Event, frozen=True, tag=True):
    """A legacy session opened its GET stream anew: an older one, wherever it is, ends."""

    session: str
    token: str


class SessionEnded(Event, frozen=True, tag=True):
    """A legacy session is over."""

    session: str


class CallCancelled(Event, frozen=True, tag="Cancelled"):
    """A legacy client has cancelled a running request."""

    session: str
    request_id: RequestId


class QuestionAnswered(Event, frozen=True, tag="Answered"):
    """A legacy client has answered a question; it goes to the worker that asked."""

    session: str
    question: str
    result: Raw | UnsetType = UNSET
    error: Raw | UnsetType = UNSET


class StreamAppended(Event, frozen=True, tag="Appended"):
    """A message was appended to a legacy session's stream, the one of this number."""

    stream: str
    number: int


class TaskChanged(Event, frozen=True, tag="TaskMoved"):
    """A task has changed: who wants to know how it stands reads its record, which may be large and is not sent."""

    task_id: str


class TaskReleased(Event, frozen=True, tag="TaskFreed"):
    """A task can be claimed: its worker has handed it back, or had no room for it."""

    task_id: str


class TokensRevoked(Event, frozen=True, tag="Revoked"):
    """Tokens are over before their end: a `store.revocations.Revocation`."""

    revocation: Raw


class EventsMissed(Event, frozen=True):
    """Events of other workers may have been lost; who keeps state by events reads it anew. Never sent."""


AnyEvent = (
    ListChanged
    | ResourceUpdated
    | SubscriptionsChanged
    | StreamOpened
    | SessionEnded
    | CallCancelled
    | QuestionAnswered
    | StreamAppended
    | TaskChanged
    | TaskReleased
    | TokensRevoked
)
_decode = msgspec.json.Decoder(AnyEvent).decode
_encode = msgspec.json.Encoder().encode


class EventBus:
    """Publishes events to this process's parts and to the other workers, in the order in which they happened here."""

    def __init__(self, backend: StateBackend, max_waiting: int = MAX_WAITING) -> None:
        self.backend = backend
        self.outbox = Outbox(backend.publish, max_waiting)
        self._subscribers: dict[type[Event], list[Callable[[Any], None]]] = {}

    def subscribe(self, kind: type[Kind], handler: Callable[[Kind], None]) -> None:
        """Have `handler` called for each event of a kind."""
        self._subscribers.setdefault(kind, []).append(handler)

    async def publish(self, event: Event) -> None:
        """To everybody, here and on the other workers; raises `StoreUnavailable` where those were not told."""
        self.deliver(event)
        if self.backend.distributed:
            await self.outbox.send(EVERYBODY, _encode(event))

    def publish_soon(self, event: Event) -> None:
        """`publish` what nobody waits for: the outbox sees to it that the others are told, or read anew."""
        self.deliver(event)
        if self.backend.distributed:
            self.outbox.send_soon(_encode(event))

    async def publish_to(self, worker: str, event: Event) -> None:
        """To one worker, which may be this one."""
        if worker == self.backend.worker:
            self.deliver(event)
        else:
            await self.outbox.send(worker, _encode(event))

    async def stop(self) -> None:
        """Have the others told of what waits, within `LAST_S`: who is about to go tells nobody later."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_S):
                await self.outbox.idle()

    def receive(self, message: bytes) -> None:
        """An event from another worker."""
        if message == GAP:
            self.deliver(EventsMissed())
            self.outbox.make_up()
            return
        try:
            event = _decode(message)
        except UNREADABLE:
            logger.warning("a message of another worker cannot be read: different versions?")
            return
        self.deliver(event)

    def deliver(self, event: Event) -> None:
        """To this process's parts only; one that fails keeps no other from hearing, and does not end the hearing."""
        for handler in self._subscribers.get(type(event), ()):
            try:
                handler(event)
            except Exception:  # noqa: BLE001 - whatever it is, the others must hear
                logger.exception("an event was not taken in", kind=type(event).__name__)
