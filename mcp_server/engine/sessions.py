"""Sessions of the legacy eras: bound to their principal, expiring, bounded for each principal and in all."""

import secrets
from typing import Final, Protocol

import msgspec

IDLE_S: Final = 3600.0
MAX_PER_PRINCIPAL: Final = 64
MAX_SESSIONS: Final = 10_000


class Session(msgspec.Struct):
    """What `initialize` agreed on; `used_at` is in seconds since the epoch."""

    id: str
    principal_key: str
    revision: str
    used_at: float


class SessionStore(Protocol):
    """Where sessions are kept."""

    def open(self, principal_key: str, revision: str, now: float) -> Session:
        """A new session; the principal's oldest makes room when it has too many."""

    def find(self, session_id: str, principal_key: str, now: float) -> Session | None:
        """The live session of this principal; another's is not found."""

    def close(self, session_id: str, principal_key: str) -> bool:
        """End it; whether there was one."""


class MemorySessions:
    """Sessions of one process; the least recently used go first."""

    def __init__(self) -> None:
        self._by_id: dict[str, Session] = {}
        self._of: dict[str, dict[str, None]] = {}

    def open(self, principal_key: str, revision: str, now: float) -> Session:
        """A new session with 256 bits of randomness in its id."""
        own = self._of.setdefault(principal_key, {})
        if len(own) >= MAX_PER_PRINCIPAL:
            self._drop(next(iter(own)))
        elif len(self._by_id) >= MAX_SESSIONS:
            self._drop(next(iter(self._by_id)))
        session = Session(secrets.token_urlsafe(32), principal_key, revision, now)
        self._by_id[session.id] = session
        self._of.setdefault(principal_key, {})[session.id] = None
        return session

    def find(self, session_id: str, principal_key: str, now: float) -> Session | None:
        """The live session, marked as used."""
        session = self._by_id.get(session_id)
        if session is None or session.principal_key != principal_key:
            return None
        if now - session.used_at > IDLE_S:
            self._drop(session_id)
            return None
        session.used_at = now
        self._by_id[session_id] = self._by_id.pop(session_id)
        return session

    def close(self, session_id: str, principal_key: str) -> bool:
        """End the principal's own session."""
        session = self._by_id.get(session_id)
        if session is None or session.principal_key != principal_key:
            return False
        self._drop(session_id)
        return True

    def _drop(self, session_id: str) -> None:
        session = self._by_id.pop(session_id)
        own = self._of[session.principal_key]
        own.pop(session_id)
        if not own:
            del self._of[session.principal_key]
