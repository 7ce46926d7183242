"""Events between the parts of a server and between its workers: told once, heard by whoever asked for their kind."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, Raw, UnsetType

from mcp_server.observe.log import logger
from mcp_server.protocol.errors import RequestId
from mcp_server.store.backend import StateBackend

Kind = TypeVar("Kind", bound="Event")


class Event(msgspec.Struct, frozen=True):
    """What happened; subclasses say what."""


class ListChanged(Event, frozen=True, tag=True):
    """One of the lists is not what it was."""

    kind: str


class ResourceUpdated(Event, frozen=True, tag=True):
    """A resource is not what it was."""

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


class Cancelled(Event, frozen=True, tag=True):
    """A legacy client does not want a running request any more."""

    session: str
    request_id: RequestId


class Answered(Event, frozen=True, tag=True):
    """A legacy client has answered a question; it goes to the worker that asked."""

    session: str
    question: str
    result: Raw | UnsetType = UNSET
    error: Raw | UnsetType = UNSET


class Appended(Event, frozen=True, tag=True):
    """A stream of a legacy session has a further message."""

    stream: str


class TaskMoved(Event, frozen=True, tag=True):
    """A task has changed; `task` is the DetailedTask as it goes on the wire."""

    task_id: str
    task: Raw


class TaskAnswered(Event, frozen=True, tag=True):
    """Answers to a task's questions."""

    task_id: str
    responses: dict[str, Raw]


class TaskCancelled(Event, frozen=True, tag=True):
    """A task is not wanted any more."""

    task_id: str


AnyEvent = (
    ListChanged
    | ResourceUpdated
    | SubscriptionsChanged
    | StreamOpened
    | SessionEnded
    | Cancelled
    | Answered
    | Appended
    | TaskMoved
    | TaskAnswered
    | TaskCancelled
)
_decode = msgspec.json.Decoder(AnyEvent).decode
_encode = msgspec.json.Encoder().encode


class EventBus:
    """Tells events to this process's parts and to the other workers."""

    def __init__(self, backend: StateBackend) -> None:
        self.backend = backend
        self._heard: dict[type[Event], list[Callable[[Any], None]]] = {}
        self._sending: set[asyncio.Task[None]] = set()

    def subscribe(self, kind: type[Kind], hear: Callable[[Kind], None]) -> None:
        """Have `hear` called for each event of a kind."""
        self._heard.setdefault(kind, []).append(hear)

    async def publish(self, event: Event) -> None:
        """To everybody, here and on the other workers."""
        self.deliver(event)
        if self.backend.distributed:
            await self.backend.broadcast(_encode(event))

    def publish_soon(self, event: Event) -> None:
        """`publish` from where nothing can be awaited; the order of events is kept."""
        self.deliver(event)
        if self.backend.distributed:
            task = asyncio.get_running_loop().create_task(self.backend.broadcast(_encode(event)))
            self._sending.add(task)
            task.add_done_callback(self._sent)

    async def publish_to(self, worker: str, event: Event) -> None:
        """To one worker, which may be this one."""
        if worker == self.backend.worker:
            self.deliver(event)
        else:
            await self.backend.send(worker, _encode(event))

    def receive(self, message: bytes) -> None:
        """An event from another worker."""
        try:
            event = _decode(message)
        except (msgspec.DecodeError, UnicodeDecodeError):
            logger.warning("a message of another worker cannot be read: different versions?")
            return
        self.deliver(event)

    def deliver(self, event: Event) -> None:
        """To this process's parts only."""
        for hear in self._heard.get(type(event), ()):
            hear(event)

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("other workers were not told", reason=str(task.exception()))
