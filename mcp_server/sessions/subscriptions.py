"""Subscriptions: who wants to hear of which changes, found by what changed, and how many there may be.

What waits for a slow reader is a dictionary, not a queue: a second change of the same thing replaces the first, so a
subscription holds at most one notice for each thing it asked for, and a frame is made only when it is read.
"""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Raw

from mcp_server.identity import Principal
from mcp_server.limits.concurrency import ConcurrencyLimiter
from mcp_server.protocol.errors import RequestId
from mcp_server.protocol.types.notifications import (
    LIST_CHANGED,
    RESOURCE_UPDATED,
    TASK_CHANGED,
    SubscriptionFilter,
    tagged,
)
from mcp_server.sessions.session import AGAIN_S, IDLE_S, look_again, stream_key
from mcp_server.sessions.session import read as read_session
from mcp_server.sessions.tasks.record import TaskRecord
from mcp_server.sessions.tasks.record import read as read_task
from mcp_server.store.backend import StoreUnavailable, owner_of
from mcp_server.store.events import (
    EventBus,
    EventsMissed,
    ListChanged,
    ResourceUpdated,
    SessionEnded,
    StreamOpened,
    SubscriptionsChanged,
    TaskChanged,
)
from mcp_server.store.revocations import MarksIndex, Revocation

MAX_URIS: Final = 256
MAX_URI_BYTES: Final = 64 * 1024
"""Of one listener: what waits for a slow reader is a notice for each address."""
RETRY_MS: Final = 1000
"""When who listened comes back, at the earliest after the server accepts no more."""

_encode = msgspec.json.Encoder().encode
_decode_task = msgspec.json.Decoder(dict[str, Raw]).decode
Place = tuple[str, str]
"""In the index: a kind and a name."""
ReadTask = Callable[[str, str], Awaitable[TaskRecord | None]]


class SubscriptionLimits(msgspec.Struct, frozen=True):
    """How many streams one principal, and all together, may have open on a worker."""

    per_principal: int = 64
    total: int = 10_000


class Notice(msgspec.Struct, frozen=True):
    """Something to say; what is said of a task is how it stands when it is said."""

    method: str
    params: dict[str, Any] = {}
    task_id: str = ""


class Subscription:
    """One open stream. `subscription` is the id of a modern `subscriptions/listen`, `session` that of a legacy one.

    `readable` and `may_call` are asked of a resource and of a task each time before it is told of: the token that
    opened a legacy stream may read less than the one that subscribes, and either may need more scopes by now.
    """

    __slots__ = (
        "_again", "_may_call", "_readable", "again_s", "ended", "on_end", "principal", "principal_key", "read_task",
        "retry_ms", "session", "subscription", "token", "waiting", "wake", "wanted",
    )  # fmt: skip

    def __init__(
        self,
        principal_key: str,
        wanted: SubscriptionFilter,
        *,
        subscription: RequestId | None = None,
        session: str | None = None,
        token: str = "",
        readable: Callable[[list[str]], list[str]] | None = None,
        may_call: Callable[[TaskRecord], bool] | None = None,
    ) -> None:
        self.principal: Principal | None = None
        """Whose token it ends with, where that is revoked."""
        self.principal_key, self.session, self.token = principal_key, session, token
        self.subscription = subscription
        self.wanted = wanted
        self.waiting: dict[str, Notice] = {}
        self.wake = asyncio.Event()
        self.ended = False
        self.retry_ms = 0
        """After how long who listens shall come back, where the server says good-bye."""
        self.on_end: Callable[[], None] | None = None
        self.read_task: ReadTask | None = None
        self.again_s = AGAIN_S
        self._again: asyncio.TimerHandle | None = None
        self._readable, self._may_call = readable, may_call

    def readable(self, uris: list[str]) -> list[str]:
        """Those of these resources that this stream may tell of."""
        return uris if self._readable is None else self._readable(uris)

    def offer(self, key: str, notice: Notice) -> None:
        """A notice for the reader; an older one of the same key that is still waiting is replaced."""
        if not self.ended:
            self.waiting[key] = notice
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
        """The frames of what has been waiting; empty when the stream shall end."""
        await self.wake.wait()
        self.wake.clear()
        waiting, self.waiting = self.waiting, {}
        if self.ended:
            self.wake.set()
        frames = [await self._frame(key, notice) for key, notice in waiting.items()]
        return [frame for frame in frames if frame]

    def _look_again(self) -> None:
        """One timer for all that wait: each with its own would wake the next look before it is due, ever more often."""
        if self._again is None:
            self._again = asyncio.get_running_loop().call_later(self.again_s, self._awake)

    def _awake(self) -> None:
        self._again = None
        self.wake.set()

    async def _frame(self, key: str, notice: Notice) -> bytes:
        if not notice.task_id:
            uri = notice.params.get("uri")
            told = uri is None or self.readable([uri])
            return tagged(notice.method, notice.params, self.subscription) if told else b""
        try:
            record = None if self.read_task is None else await self.read_task(notice.task_id, self.principal_key)
        except StoreUnavailable:  # a store that only stalls tells of no gap: it is looked at again
            if not self.ended:
                self.waiting.setdefault(key, notice)
                self._look_again()
            return b""
        if record is None or (self._may_call is not None and not self._may_call(record)):
            return b""
        return tagged(notice.method, _decode_task(_encode(record.wire())), self.subscription)


class Subscriptions:
    """The open streams of this worker, and an index of them: a change costs as much as there are who hear of it."""

    def __init__(
        self,
        bus: EventBus,
        limits: SubscriptionLimits,
        *,
        again_s: float = AGAIN_S,
        over: Callable[[Principal], bool] = lambda _: False,
    ) -> None:
        """`over` is whether a caller's token was revoked."""
        self._bus, self._again_s, self._over = bus, again_s, over
        self._limiter = ConcurrencyLimiter(limits.per_principal, limits.total)
        self._open: dict[Subscription, None] = {}
        self._by_marks = MarksIndex[Subscription]()
        self._index: dict[Place, dict[Subscription, None]] = {}
        self._being_read: dict[str, object] = {}
        self.closing = False
        """Whether no new stream opens any more."""
        self._reading: asyncio.Task[None] | None = None
        bus.subscribe(ListChanged, self._list_changed)
        bus.subscribe(ResourceUpdated, lambda event: self._offer(_resource(event.uri)))
        bus.subscribe(TaskChanged, lambda event: self._offer(_task(event.task_id)))
        bus.subscribe(SubscriptionsChanged, lambda event: self._subscribed(event.session, event.uris))
        bus.subscribe(SessionEnded, lambda event: self._end_session(event.session))
        bus.subscribe(StreamOpened, lambda event: self._replaced(event.session, event.token))
        bus.subscribe(EventsMissed, lambda _: self._look_again())

    def __iter__(self) -> Iterator[Subscription]:
        """Those that are open."""
        return iter(list(self._open))

    def __len__(self) -> int:
        """How many are open."""
        return len(self._open)

    def add(self, listener: Subscription) -> bool:
        """Take it in, unless there are too many, of this principal or in all."""
        if self.closing or not self._limiter.acquire(listener.principal_key):
            return False
        self._open[listener] = None
        listener.read_task, listener.again_s = self._read_task, self._again_s
        for place in _places(listener):
            self._index.setdefault(place, {})[listener] = None
        if (principal := listener.principal) is not None:
            self._by_marks.add(listener, principal)
            if self._over(principal):
                listener.end()  # while it was being opened: it opens, and says that it is over
        return True

    async def opened(self, listener: Subscription) -> None:
        """A session's general stream, which has been added, is the newest: older ones end, wherever they are.

        The session is read once more: it may have changed, or ended, between the look-up and the adding.
        """
        session = listener.session or ""
        owner = owner_of(listener.principal_key)
        await self._bus.backend.set(stream_key(session), listener.token.encode(), IDLE_S, owner)
        await self._bus.publish(StreamOpened(session, listener.token))
        await self._read(session)

    def remove(self, listener: Subscription) -> None:
        """Its stream is closed."""
        del self._open[listener]
        if listener.principal is not None:
            self._by_marks.remove(listener, listener.principal)
        self._limiter.release(listener.principal_key)
        for place in _places(listener):
            self._unindex(place, listener)

    def start(self) -> None:
        """Streams may open, once more where the server was stopped before."""
        self.closing = False

    def drain(self, within_s: float) -> None:
        """The server is about to stop: each stream ends within so many seconds, and no new one opens.

        Not all at once: ten thousand clients would be back in the same second, on whoever serves then.
        """
        self.closing = True
        loop = asyncio.get_running_loop()
        for listener in self._open:
            at_s = random.uniform(0, within_s)  # nosec B311 # noqa: S311 - it spreads a load, and guards nothing
            listener.retry_ms = math.ceil((within_s - at_s) * 1000) + RETRY_MS  # by then nobody accepts here any more
            loop.call_later(at_s, listener.end)

    def revoked(self, revocation: Revocation) -> int:
        """End the streams of tokens that are over; how many there were."""
        ended = self._by_marks.over(revocation, self._known)
        for listener in ended:
            listener.end()
        return len(ended)

    def _known(self) -> Iterator[tuple[Subscription, Principal]]:
        return ((one, one.principal) for one in self._open if one.principal is not None)

    def end_all(self) -> None:
        """The server stops: each stream ends as it should, and no new one opens."""
        self.closing = True
        if self._reading is not None:
            self._reading.cancel()
        for listener in self._open:
            listener.end()

    def _of(self, session: str) -> list[Subscription]:
        return list(self._index.get(("session", session), ()))

    def _unindex(self, place: Place, listener: Subscription) -> None:
        there = self._index.get(place, {})
        there.pop(listener, None)
        if not there:
            self._index.pop(place, None)

    def _offer(self, one: "_Notifiable") -> None:
        for listener in self._index.get(one.place, ()):
            listener.offer(one.key, one.notice)

    def _list_changed(self, event: ListChanged) -> None:
        if event.kind in LIST_CHANGED:  # a newer version may have more of them
            self._offer(_list(event.kind))

    async def _read_task(self, task_id: str, principal_key: str) -> TaskRecord | None:
        record = await read_task(self._bus.backend, task_id)
        return record if record is not None and record.principal_key == principal_key else None

    def _subscribed(self, session: str, uris: list[str]) -> None:
        """The subscriptions of a session are these; each of its streams hears of those that its own token may read."""
        self._being_read.pop(session, None)  # what is being read may be older than this
        for listener in self._of(session):
            if listener.wanted != SubscriptionFilter():  # that one fetches the rest of an answer
                self._want(listener, listener.readable(uris))

    def _want(self, listener: Subscription, uris: list[str]) -> None:
        for uri in set(listener.wanted.resource_subscriptions).difference(uris):
            self._unindex(_resource(uri).place, listener)
        listener.wanted = msgspec.structs.replace(listener.wanted, resource_subscriptions=uris)
        for uri in uris:
            self._index.setdefault(_resource(uri).place, {})[listener] = None

    def _replaced(self, session: str, token: str) -> None:
        """A session has one general stream; those that fetch the rest of an answer have no token and go on."""
        for listener in self._of(session):
            if listener.token not in ("", token):
                listener.end()

    def _end_session(self, session: str) -> None:
        for listener in self._of(session):
            listener.end()

    def _look_again(self) -> None:
        """Events may have been missed: what they would have told is read from the store, or said to have changed."""
        for listener in self._open:
            for one in _wanted(listener):
                listener.offer(one.key, one.notice)
        if self._reading is not None:
            self._reading.cancel()
        sessions = {listener.session for listener in self._open if listener.session is not None}
        if sessions:
            self._reading = asyncio.get_running_loop().create_task(
                look_again(list(sessions), self._read, self._again_s)
            )

    async def _read(self, session: str) -> None:
        """Bring the streams of a session to how it stands in the store."""
        mine = self._being_read[session] = object()
        try:
            found = await read_session(self._bus.backend, session)
            newest = await self._bus.backend.get(stream_key(session))
            if found is None:
                self._bus.deliver(SessionEnded(session))
                await self._bus.backend.delete(stream_key(session))  # one that opened while the session ended
            elif self._being_read.get(session) is mine:  # else an event, or a later look, has told what is newer
                self._subscribed(session, found.subscriptions)
            if newest is not None:
                self._replaced(session, newest.decode("ascii"))
        finally:
            if self._being_read.get(session) is mine:
                del self._being_read[session]


class _Notifiable(NamedTuple):
    """Something that a stream may have to tell: where it is found in the index, under which key it waits, and what."""

    place: Place
    key: str
    notice: Notice


def _list(kind: str) -> _Notifiable:
    return _Notifiable(("list", kind), kind, Notice(LIST_CHANGED[kind]))


def _resource(uri: str) -> _Notifiable:
    return _Notifiable(("uri", uri), f"resource {uri}", Notice(RESOURCE_UPDATED, {"uri": uri}))


def _task(task_id: str) -> _Notifiable:
    return _Notifiable(("task", task_id), f"task {task_id}", Notice(TASK_CHANGED, task_id=task_id))


def _wanted(listener: Subscription) -> Iterator[_Notifiable]:
    yield from (_list(kind) for kind in LIST_CHANGED if getattr(listener.wanted, f"{kind}_list_changed"))
    yield from map(_resource, listener.wanted.resource_subscriptions)
    yield from map(_task, listener.wanted.task_ids)


def _places(listener: Subscription) -> list[Place]:
    found = [one.place for one in _wanted(listener)]
    return found if listener.session is None else [*found, ("session", listener.session)]


def session_changes(resources: list[str]) -> SubscriptionFilter:
    """A legacy session hears of every list, and of the resources it subscribed to and may read."""
    return SubscriptionFilter(
        tools_list_changed=True,
        prompts_list_changed=True,
        resources_list_changed=True,
        resource_subscriptions=resources,
    )
