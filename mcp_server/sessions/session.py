"""Sessions of the legacy eras: bound to their principal, expiring, bounded for each principal and in all."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from mcp_server.identity import TokenMarks
from mcp_server.observe.log import logger
from mcp_server.protocol.types.notifications import LogLevel
from mcp_server.sessions.durations import Opened, SessionDurations
from mcp_server.store.backend import StateBackend, StoreUnavailable, owner_of
from mcp_server.store.events import EventBus, EventsMissed, SessionEnded, SubscriptionsChanged
from mcp_server.store.lock import Locks
from mcp_server.store.records import decoded

IDLE_S: Final = 3600.0
MAX_PER_PRINCIPAL: Final = 64
MAX_SUBSCRIPTIONS: Final = 64
"""Of one session, in resources."""
MAX_URI_BYTES: Final = 32 * 1024
"""Of the addresses that one session subscribes to: with the above, what one principal's sessions may hold."""
MAX_READ_BYTES: Final = 8 * 1024 * 1024
"""Of sessions that stand decoded beside the store."""
AGAIN_S: Final = 1.0
"""After how long the store is asked again where it is away while sessions are read anew."""
_OWN_SECONDS: Final = 86_400.0

_encode = msgspec.json.Encoder().encode
_decode_ids = msgspec.json.Decoder(list[str]).decode


class Session(msgspec.Struct, frozen=True):
    """What `initialize` agreed on, and what the client asked for since."""

    id: str
    principal_key: str
    revision: str
    capabilities: dict[str, Any] = msgspec.field(default_factory=dict)
    log_level: LogLevel = "info"
    subscriptions: list[str] = msgspec.field(default_factory=list)
    opened_by: TokenMarks | None = None
    """A session is over with the token that opened it, where that is revoked."""
    opened_at: float = 0.0
    """Since the epoch; 0 of one that an earlier version has opened."""

    @property
    def opened(self) -> Opened:
        """What is told of it when it has ended."""
        return Opened(self.revision, self.opened_at)


_decode = msgspec.json.Decoder(Session).decode


async def read(backend: StateBackend, session_id: str) -> Session | None:
    """A session as it stands on whatever worker, its life not renewed."""
    stored = await backend.get(_key(session_id))
    return None if stored is None else decoded(_decode, stored, "session")


async def look_again(sessions: list[str], read_one: Callable[[str], Awaitable[None]], again_s: float = AGAIN_S) -> None:
    """Read each of these sessions after events may have been missed, for as long as the store is away in between."""
    while sessions:
        try:
            await read_one(sessions[-1])
            sessions.pop()
        except StoreUnavailable as away:
            logger.warning("sessions cannot be read anew", reason=str(away), again_in_s=again_s)
            await asyncio.sleep(again_s)
        except Exception as error:  # noqa: BLE001 - one bad record (of another version) must not cost all the others
            logger.error("a session cannot be read anew", reason=type(error).__name__)
            sessions.pop()


class Sessions:
    """The sessions of all workers; the store forgets idle ones, and the oldest where memory is short."""

    def __init__(
        self,
        bus: EventBus,
        max_read_bytes: int = MAX_READ_BYTES,
        *,
        over: Callable[[TokenMarks], bool] = lambda _: False,
    ) -> None:
        """`over` is whether a token was revoked."""
        self._over = over
        self._bus, self._backend = bus, bus.backend
        self._max_read_bytes, self._locks = max_read_bytes, Locks(bus.backend)
        self._read: dict[str, tuple[bytes, Session]] = {}
        self._read_bytes = 0
        self.durations = SessionDurations(self._is_there, IDLE_S)
        bus.subscribe(SessionEnded, lambda event: self._over_elsewhere(event.session))
        bus.subscribe(EventsMissed, lambda _: self.durations.missed())

    async def open(
        self, principal_key: str, revision: str, capabilities: dict[str, Any], opened_by: TokenMarks | None = None
    ) -> Session:
        """A new session with 256 bits of randomness in its id; the principal's oldest makes room."""
        session = Session(
            id=secrets.token_urlsafe(32),
            principal_key=principal_key,
            revision=revision,
            capabilities=capabilities,
            opened_by=opened_by,
            opened_at=time.time(),
        )
        own = _own(principal_key)
        async with self._locks.hold(own):
            ids = await self._ids(own)
            if len(ids) >= MAX_PER_PRINCIPAL:  # those that ran out of time are in the way of nobody
                ids = [one for one in ids if await self._backend.get(_key(one)) is not None]
            for old in ids[: max(0, len(ids) + 1 - MAX_PER_PRINCIPAL)]:
                await self._end(old, await read(self._backend, old))
            # Listed first: a session that is kept and in no list would be one more than its caller may have.
            await self._list(own, [*ids, session.id][-MAX_PER_PRINCIPAL:])
            await self.save(session)
        self.durations.opened(session.id, session.opened)
        return session

    async def find(self, session_id: str, principal_key: str) -> Session | None:
        """The live session of this principal, its life renewed; another's is not found."""
        stored = await self._backend.get(_key(session_id), IDLE_S)
        if stored is None:
            self._forget(session_id)
            return None
        session = self._decoded(session_id, stored)
        if session is None or session.principal_key != principal_key:
            return None
        if session.opened_by is not None and self._over(session.opened_by):
            await self._end(session_id, session, "revoked")
            return None
        return session

    def _decoded(self, session_id: str, stored: bytes) -> Session | None:
        """The session in these bytes; the same object as last time while a store in memory hands out the same.

        Another store makes new bytes at each look-up: kept for it, a session would only cost memory.
        """
        known = self._read.get(session_id)
        if known is not None and known[0] is stored:
            return known[1]
        session = decoded(_decode, stored, "session")
        if session is None or self._backend.distributed:
            return session
        self._forget(session_id)
        self._read[session_id] = stored, session
        self._read_bytes += len(stored)
        while self._read_bytes > self._max_read_bytes:
            self._forget(next(iter(self._read)))
        return session

    def _over_elsewhere(self, session_id: str) -> None:
        self._forget(session_id)
        self.durations.forget(session_id)

    async def _is_there(self, session_id: str) -> bool:
        return await self._backend.get(_key(session_id)) is not None

    def _forget(self, session_id: str) -> None:
        known = self._read.pop(session_id, None)
        if known is not None:
            self._read_bytes -= len(known[0])

    async def change(self, session: Session, change: Callable[[Session], Session]) -> Session:
        """Change a session as it stands now on whatever worker, and tell them; one that has ended stays so."""
        async with self._locks.hold(_own(session.principal_key)):  # as ends do, so that none is undone here
            current = await self.find(session.id, session.principal_key)
            if current is None:
                return session
            changed = change(current)
            await self.save(changed)
            if changed.subscriptions != current.subscriptions:  # in here, so that the last word is the last change
                await self._bus.publish(SubscriptionsChanged(changed.id, changed.subscriptions))
        return changed

    async def save(self, session: Session) -> None:
        """Keep a session that nobody else knows of yet; `change` is for all others."""
        await self._backend.set(_key(session.id), _encode(session), IDLE_S, owner_of(session.principal_key))

    async def close(self, session_id: str, principal_key: str) -> bool:
        """End the principal's own session; whether there was one."""
        own = _own(principal_key)
        async with self._locks.hold(own):
            session = await self.find(session_id, principal_key)
            if session is None:
                return False
            await self._end(session_id, session)
            await self._list(own, [one for one in await self._ids(own) if one != session_id])
        return True

    async def stop(self) -> None:
        """Measure no more; a store in this process is gone with it."""
        await self.durations.stop(lost=not self._backend.distributed)

    async def _end(self, session_id: str, session: Session | None, error: str = "") -> None:
        mine = await self._backend.delete(_key(session_id))  # of two that end one at once
        await self._backend.delete(stream_key(session_id))
        if session is not None and mine:
            self.durations.ended(session_id, session.opened, error)
        await self._bus.publish(SessionEnded(session_id))

    async def _ids(self, own: str) -> list[str]:
        """The principal's sessions, the oldest first."""
        return decoded(_decode_ids, await self._backend.get(own) or b"[]", "sessions") or []

    async def _list(self, own: str, ids: list[str]) -> None:
        if ids:
            await self._backend.set(own, _encode(ids), _OWN_SECONDS)
        else:
            await self._backend.delete(own)


def _own(principal_key: str) -> str:
    return f"sessions:{owner_of(principal_key)}"


def _key(session_id: str) -> str:
    return f"session:{session_id}"


def stream_key(session_id: str) -> str:
    """Where the newest general stream of a session is named."""
    return f"stream:{session_id}"
