"""What was said on the streams of legacy sessions, for clients that come back for it (2025-11-25 §Resumability)."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import msgspec

from mcp_server.protocol.sse import EventId
from mcp_server.sessions.subscriptions import Subscription
from mcp_server.store.backend import KEPT_BYTES, OVERHEAD
from mcp_server.store.events import Appended, EventBus

KEPT: Final = 256
"""Messages of one stream."""
KEPT_S: Final = 300.0
STREAM_S: Final = 3600.0
"""How long after it opened a stream is known at all."""
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[str]).decode
_LAST: Final = b"1"
_MORE: Final = b"0"


class EventLog:
    """The event log of streams, in the shared store; an event is found only in the session it was said in.

    What one principal has kept is bounded: what is too much is said and not kept.
    """

    def __init__(self, bus: EventBus, limit: int = KEPT_BYTES) -> None:
        self._bus, self._backend, self._limit = bus, bus.backend, limit
        self._followers: dict[str, set[asyncio.Event]] = {}
        bus.subscribe(Appended, self._appended)

    async def begin(self, owner: str, session: str, stream: str, needed: frozenset[str]) -> bool:
        """A stream opens, if there is room for it; who comes back for it must hold what its call needed."""
        head, key = _encode(sorted(needed)), _head(session, stream)
        charge = len(head) + OVERHEAD  # that of its end, too, which is kept whatever comes between
        return await self._backend.keep(key, head, STREAM_S, owner=owner, limit=self._limit, charge=charge)

    async def append(self, owner: str, session: str, event: EventId, data: bytes, *, last: bool) -> bool:
        """Keep one message, if there is room for it; those that are too old go."""
        key, value = _key(session, event), (_LAST if last else _MORE) + data
        if not await self._backend.keep(key, value, KEPT_S, owner=owner, limit=self._limit, charge=len(value)):
            return False
        if event.number > KEPT:
            await self._backend.delete(_key(session, EventId(event.stream, event.number - KEPT)))
        await self._bus.publish(Appended(event.stream))
        return True

    async def end(self, owner: str, session: str, event: EventId) -> None:
        """The last message of a stream is not kept: who follows it hears that there is no more."""
        await self._backend.set(_key(session, event), _LAST, KEPT_S, owner)
        await self._bus.publish(Appended(event.stream))

    async def knows(self, session: str, event: EventId, held: frozenset[str]) -> bool:
        """Whether this is an event of the session that was said, is still kept, and may be heard by these scopes."""
        head = await self._backend.get(_head(session, event.stream))
        if head is None or not held.issuperset(_decode(head)):
            return False
        return event.number == 0 or await self._backend.get(_key(session, event)) is not None

    async def follow(
        self, session: str, event: EventId, listener: Subscription
    ) -> AsyncIterator[tuple[EventId, bytes]]:
        """What was and will be said after an event, up to the stream's last message or the listener's end."""
        followers = self._followers.setdefault(event.stream, set())
        followers.add(listener.wake)
        try:
            seen = await self._backend.get(_key(session, event))
            if seen is not None and seen[:1] == _LAST:
                return
            while not listener.ended:
                listener.wake.clear()
                event = EventId(event.stream, event.number + 1)
                stored = await self._backend.get(_key(session, event))
                if stored is None:
                    event = EventId(event.stream, event.number - 1)
                    await listener.wake.wait()
                    continue
                yield event, stored[1:]
                if stored[:1] == _LAST:
                    return
        finally:
            followers.discard(listener.wake)
            if not followers:
                self._followers.pop(event.stream, None)

    def _appended(self, event: Appended) -> None:
        for wake in self._followers.get(event.stream, ()):
            wake.set()


def _head(session: str, stream: str) -> str:
    return f"event:{session}:{stream}"


def _key(session: str, event: EventId) -> str:
    return f"event:{session}:{event}"
