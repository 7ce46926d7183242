"""The event log of streams of legacy sessions, for clients that come back for it (2025-11-25 §Resumability)."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

import msgspec

from mcp_server.protocol.sse import EventId
from mcp_server.sessions.subscriptions import Subscription
from mcp_server.store.backend import KEPT_BYTES, OVERHEAD
from mcp_server.store.events import EventBus, EventsMissed, StreamAppended
from mcp_server.store.records import decoded

KEPT: Final = 256
"""Messages of one stream, the priming event among them."""
KEPT_S: Final = 300.0
STREAM_S: Final = 3600.0
"""How long after it opened a stream is known at all."""
RECHECK_S: Final = 60.0
"""How often who follows a silent stream makes sure that it is still known."""
_encode = msgspec.json.Encoder().encode
_LAST: Final = b"1"
_MORE: Final = b"0"


class StreamAccess(msgspec.Struct, frozen=True, array_like=True):
    """Access to a stream that is kept: for who holds what its calls needed, and what they need by then.

    `about` are the methods and registered names of these calls; a registry may have changed.
    """

    needed: tuple[str, ...] = ()
    about: tuple[tuple[str, str], ...] = ()

    def also(self, needed: frozenset[str], about: tuple[str, str]) -> "StreamAccess":
        """With one more call."""
        return StreamAccess(tuple(sorted({*self.needed, *needed})), tuple(sorted({*self.about, about})))


_decode = msgspec.json.Decoder(StreamAccess).decode
MayHear = Callable[[StreamAccess], bool]


class EventLog:
    """The event log of streams, in the shared store; an event is found only in the session it was said in.

    What one principal has kept is bounded: what is too much is said and not kept. The priming event is kept as every
    other is, and goes before the first message does: who comes back for more than there is must not wait for it.
    """

    def __init__(
        self, bus: EventBus, limit: int = KEPT_BYTES, *, kept: int = KEPT, recheck_s: float = RECHECK_S
    ) -> None:
        self._bus, self._backend, self._limit = bus, bus.backend, limit
        self._kept, self._recheck_s = kept, recheck_s
        self._followers: dict[str, dict[Subscription, int]] = {}
        """The newest number that each has heard of."""
        bus.subscribe(StreamAppended, self._appended)
        bus.subscribe(EventsMissed, lambda _: self._look_again())

    async def begin(self, owner: str, session: str, stream: str, kept_for: StreamAccess) -> bool:
        """A stream opens, if there is room for it; who comes back for it must hold what its call needed."""
        head, key = _encode(kept_for), _head(session, stream)
        charge = len(head) + 2 * OVERHEAD  # its beginning and its end, which are kept whatever comes between
        if not await self._backend.keep(key, head, STREAM_S, owner=owner, limit=self._limit, charge=charge):
            return False
        await self._backend.set(_key(session, EventId(stream, 0)), _MORE, STREAM_S, owner)
        return True

    async def append(self, owner: str, session: str, event: EventId, data: bytes, *, last: bool) -> bool:
        """Keep one message, if there is room for it; those that are too old go."""
        key, value = _key(session, event), (_LAST if last else _MORE) + data
        if event.number == 1:  # from now on the priming event lives no longer than what follows it
            await self._backend.set(_key(session, EventId(event.stream, 0)), _MORE, KEPT_S, owner)
        if not await self._backend.keep(key, value, KEPT_S, owner=owner, limit=self._limit, charge=len(value)):
            return False
        if event.number >= self._kept:
            await self._backend.delete(_key(session, EventId(event.stream, event.number - self._kept)))
        self._bus.publish_soon(StreamAppended(event.stream, event.number))
        return True

    async def end(self, owner: str, session: str, event: EventId) -> None:
        """The last message of a stream is not kept: who follows it hears that there is no more."""
        await self._backend.set(_key(session, event), _LAST, KEPT_S, owner)
        self._bus.publish_soon(StreamAppended(event.stream, event.number))

    async def knows(self, session: str, event: EventId, may_hear: MayHear) -> bool:
        """Whether this is an event of the session that was said, is still kept, and may be heard."""
        head = await self._backend.get(_head(session, event.stream))
        kept_for = None if head is None else decoded(_decode, head, "stream")
        if kept_for is None or not may_hear(kept_for):
            return False
        return await self._backend.get(_key(session, event)) is not None

    async def follow(
        self, session: str, event: EventId, listener: Subscription
    ) -> AsyncIterator[tuple[EventId, bytes]]:
        """What was and will be said after an event, up to the stream's last message or the listener's end.

        It ends, too, where the next message was said and is gone: too old, or pushed out while its reader was slow.
        """
        followers = self._followers.setdefault(event.stream, {})
        followers[listener] = event.number
        try:
            seen = await self._backend.get(_key(session, event))
            if seen is None or seen[:1] == _LAST:
                return
            while not listener.ended:
                listener.wake.clear()
                newest = followers[listener]  # of before the look: what it names was in the store by then
                following = EventId(event.stream, event.number + 1)
                stored = await self._backend.get(_key(session, following))
                if stored is not None:
                    event = following
                    yield event, stored[1:]
                    if stored[:1] == _LAST:
                        return
                elif newest > event.number or not await self._woken(session, event.stream, listener):
                    return
        finally:
            followers.pop(listener, None)
            if not followers:
                self._followers.pop(event.stream, None)

    async def _woken(self, session: str, stream: str, listener: Subscription) -> bool:
        """Wait for a message; whether the stream is still known: its worker may have died, and all it kept with it."""
        try:
            async with asyncio.timeout(self._recheck_s):
                await listener.wake.wait()
        except TimeoutError:
            return await self._backend.get(_head(session, stream)) is not None
        return True

    def _appended(self, event: StreamAppended) -> None:
        followers = self._followers.get(event.stream, {})
        for listener in followers:
            followers[listener] = max(followers[listener], event.number)
            listener.wake.set()

    def _look_again(self) -> None:
        for followers in self._followers.values():
            for listener in followers:
                listener.wake.set()


def _head(session: str, stream: str) -> str:
    return f"event:{session}:{stream}"


def _key(session: str, event: EventId) -> str:
    return f"event:{session}:{event}"
