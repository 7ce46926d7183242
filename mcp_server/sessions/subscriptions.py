"""Listeners: who wants to hear of which changes, what waits for each, and how many there may be.

What waits for a slow reader is a dictionary, not a queue: a second change of the same thing replaces the first, so a
listener holds at most one frame for each thing it asked for.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Raw

from mcp_server.limits.concurrency import ConcurrencyLimiter
from mcp_server.protocol.errors import RequestId
from mcp_server.protocol.types.notifications import (
    LIST_CHANGED,
    RESOURCE_UPDATED,
    TASK_CHANGED,
    SubscriptionFilter,
    tagged,
)
from mcp_server.store.events import (
    EventBus,
    ListChanged,
    ResourceUpdated,
    SessionEnded,
    StreamOpened,
    SubscriptionsChanged,
    TaskMoved,
)

MAX_URIS: Final = 256
MAX_URI_BYTES: Final = 64 * 1024
"""Of one listener: what waits for a slow reader is a frame for each address."""


class SubscriptionLimits(msgspec.Struct, frozen=True):
    """How many streams one principal, and all together, may have open on a worker."""

    per_principal: int = 64
    total: int = 10_000


class Subscription:
    """One open stream. `subscription` is the id of a modern `subscriptions/listen`, `session` that of a legacy one."""

    __slots__ = ("ended", "on_end", "principal_key", "session", "subscription", "token", "waiting", "wake", "wanted")

    def __init__(
        self,
        principal_key: str,
        wanted: SubscriptionFilter,
        *,
        subscription: RequestId | None = None,
        session: str | None = None,
        token: str = "",
    ) -> None:
        self.principal_key, self.session, self.token = principal_key, session, token
        self.subscription = subscription
        self.wanted = wanted
        self.waiting: dict[str, bytes] = {}
        self.wake = asyncio.Event()
        self.ended = False
        self.on_end: Callable[[], None] | None = None

    def offer(self, key: str, frame: bytes) -> None:
        """A frame for the reader; an older one of the same key that is still waiting is replaced."""
        if not self.ended:
            self.waiting[key] = frame
            self.wake.set()

    def end(self) -> None:
        """Have the stream closed after what waits."""
        if self.ended:
            return
        self.ended = True
        self.wake.set()
        if self.on_end is not None:
            self.on_end()

    async def next(self) -> list[bytes]:
        """What has been waiting; empty when the stream shall end."""
        await self.wake.wait()
        self.wake.clear()
        frames = list(self.waiting.values())
        self.waiting.clear()
        if self.ended:
            self.wake.set()
        return frames


class Subscriptions:
    """The open streams of this worker."""

    def __init__(self, bus: EventBus, limits: SubscriptionLimits) -> None:
        self._limiter = ConcurrencyLimiter(limits.per_principal, limits.total)
        self._open: dict[Subscription, None] = {}
        self._closing = False
        bus.subscribe(ListChanged, self._list_changed)
        bus.subscribe(ResourceUpdated, self._resource_updated)
        bus.subscribe(TaskMoved, self._task_moved)
        bus.subscribe(SubscriptionsChanged, self._subscriptions_changed)
        bus.subscribe(SessionEnded, lambda event: self._end_session(event.session))
        bus.subscribe(StreamOpened, self._replaced)

    def add(self, listener: Subscription) -> bool:
        """Take it in, unless there are too many, of this principal or in all."""
        if self._closing or not self._limiter.acquire(listener.principal_key):
            return False
        self._open[listener] = None
        return True

    def remove(self, listener: Subscription) -> None:
        """Its stream is closed."""
        del self._open[listener]
        self._limiter.release(listener.principal_key)

    def start(self) -> None:
        """Streams may open, once more where the server was stopped before."""
        self._closing = False

    def end_all(self) -> None:
        """The server stops: each stream ends as it should, and no new one opens."""
        self._closing = True
        for listener in self._open:
            listener.end()

    def _list_changed(self, event: ListChanged) -> None:
        method = LIST_CHANGED[event.kind]
        for listener in self._open:
            if getattr(listener.wanted, f"{event.kind}_list_changed"):
                listener.offer(event.kind, tagged(method, {}, listener.subscription))

    def _resource_updated(self, event: ResourceUpdated) -> None:
        for listener in self._open:
            if event.uri in listener.wanted.resource_subscriptions:
                frame = tagged(RESOURCE_UPDATED, {"uri": event.uri}, listener.subscription)
                listener.offer(f"resource {event.uri}", frame)

    def _task_moved(self, event: TaskMoved) -> None:
        task: dict[str, Raw] | None = None
        for listener in self._open:
            if event.task_id in listener.wanted.task_ids:
                task = task or msgspec.json.decode(event.task, type=dict[str, Raw])
                listener.offer(f"task {event.task_id}", tagged(TASK_CHANGED, task, listener.subscription))

    def _subscriptions_changed(self, event: SubscriptionsChanged) -> None:
        for listener in self._open:
            if listener.session == event.session:
                listener.wanted = msgspec.structs.replace(listener.wanted, resource_subscriptions=event.uris)

    def _replaced(self, event: StreamOpened) -> None:
        """A session has one general stream; those that fetch the rest of an answer have no token and go on."""
        for listener in self._open:
            if listener.session == event.session and listener.token not in ("", event.token):
                listener.end()

    def _end_session(self, session: str) -> None:
        for listener in self._open:
            if listener.session == session:
                listener.end()
