"""The shared store of a server that is one process: bounded dictionaries, by kind and by owner."""

import time
from collections.abc import Callable
from typing import Final

from mcp_server.store.backend import MAX_BYTES, MAX_ENTRIES, OVERHEAD, RENEWED_BELOW, Receive, StoreFull, room_for

_SWEEP_EVERY: Final = 1_000  # writes
_SWEEP_S: Final = 1.0
"""Where there is no room, what has expired is looked for at most so often: a look is at every entry."""


class InMemoryBackend:
    """A state backend in memory: whoever holds most makes room first; tasks do not go before their time.

    Replays and tasks hold what handlers return, so each kind has room of its own: however much is said, no session is
    forgotten for it and no claim becomes good again. Not Litestar's `MemoryStore`: that one has no bound and yields to
    the loop at each look-up.
    """

    worker = "w"
    distributed = False

    def __init__(
        self,
        max_entries: int = MAX_ENTRIES,
        max_bytes: int = MAX_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kinds = {kind: _Room(max_entries, max_bytes, clock) for kind in ("event", "claim", "")}
        self._kinds["task"] = _Room(max_entries, max_bytes, clock, keeps=True)

    def _room(self, key: str) -> "_Room":
        return self._kinds.get(key.partition(":")[0]) or self._kinds[""]

    async def get(self, key: str, renew_s: float | None = None) -> bytes | None:
        """The value if its time is not over."""
        return self._room(key).get(key, renew_s)

    async def set(self, key: str, value: bytes, ttl_s: float, owner: str = "") -> None:
        """Keep a value; others of its kind make room, or it raises `StoreFull`."""
        self._room(key).set(key, value, ttl_s, owner)

    async def keep(self, key: str, value: bytes, ttl_s: float, *, owner: str, limit: int, charge: int) -> bool:
        """Keep a value within its owner's bound, which is counted exactly here; whether it is kept."""
        room, size = self._room(key), len(value) + OVERHEAD
        if room.held(owner, without=key) + size > limit:
            room.sweep()
            if room.held(owner, without=key) + size > limit:
                return False
        room.set(key, value, ttl_s, owner)
        return True

    async def held(self, kind: str, owner: str) -> int:
        """The bytes of a kind that an owner keeps."""
        room = self._kinds[kind]
        room.sweep()
        return room.held(owner)

    async def delete(self, key: str) -> None:
        """Forget a value."""
        self._room(key).drop(key)

    async def claim(self, key: str, ttl_s: float, token: str = "") -> bool:
        """Whether nobody has claimed it yet."""
        room, key = self._kinds["claim"], f"claim:{key}"
        if room.get(key, None) is not None:
            return False
        room.set(key, token.encode(), ttl_s)
        return True

    async def release(self, key: str, token: str) -> None:
        """Let it be claimed again, unless the claim is another's by now."""
        room, key = self._kinds["claim"], f"claim:{key}"
        if room.get(key, None) == token.encode():
            room.drop(key)

    async def broadcast(self, message: bytes) -> None:
        """Nobody else is there."""

    async def send(self, worker: str, message: bytes) -> None:
        """Nobody else is there."""

    async def start(self, receive: Receive) -> None:
        """Nothing to hear."""

    async def stop(self) -> None:
        """Nothing was heard."""


class _Holder:
    """What one owner keeps of a kind, the oldest first."""

    __slots__ = ("keys", "size")

    def __init__(self) -> None:
        self.keys: dict[str, None] = {}
        self.size = 0

    @property
    def weight(self) -> int:
        return self.size + OVERHEAD * len(self.keys)


class _Room:
    """Values of one kind; those that it `keeps` do not make room for others."""

    def __init__(self, max_entries: int, max_bytes: int, clock: Callable[[], float], *, keeps: bool = False) -> None:
        self._clock, self._keeps = clock, keeps
        self._entries: dict[str, tuple[bytes, float, str]] = {}
        self._holders: dict[str, _Holder] = {}
        self._bytes = 0
        self._writes, self._swept_at = 0, -_SWEEP_S
        self._max_entries, self._max_bytes = max_entries, max_bytes

    def get(self, key: str, renew_s: float | None) -> bytes | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        value, expires, owner = entry
        now = self._clock()
        if expires <= now:
            self.drop(key)
            return None
        if renew_s is not None and expires - now < renew_s * RENEWED_BELOW:
            self._entries[key] = (value, now + renew_s, owner)
            keys = self._holders[owner].keys
            del keys[key]
            keys[key] = None  # stands last again
        return value

    def set(self, key: str, value: bytes, ttl_s: float, owner: str = "") -> None:
        if self._keeps and not self._fits(key, value):
            self.sweep()
            if not self._fits(key, value):
                raise StoreFull("no room")
        self.drop(key)
        self._entries[key] = (value, self._clock() + ttl_s, owner)
        holder = self._holders.setdefault(owner, _Holder())
        holder.keys[key] = None
        holder.size += len(value)
        self._bytes += len(value)
        self._writes += 1
        if self._writes % _SWEEP_EVERY == 0:
            self._sweep()
        while len(self._entries) > self._max_entries or self._bytes > self._max_bytes:
            greatest = max(self._holders.values(), key=lambda one: one.weight)  # nobody pushes out those with less
            self.drop(next(iter(greatest.keys)))

    def held(self, owner: str, without: str = "") -> int:
        """What an owner keeps, the value of one key left out."""
        holder = self._holders.get(owner)
        if holder is None:
            return 0
        old = self._entries[without][0] if without in holder.keys else None
        return holder.weight - (0 if old is None else len(old) + OVERHEAD)

    def _fits(self, key: str, value: bytes) -> bool:
        old = self._entries.get(key)
        more = len(value) - (len(old[0]) if old else 0)
        room = room_for(value, self._max_bytes)
        return self._bytes + more <= room and (old is not None or len(self._entries) < self._max_entries)

    def drop(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        value, _, owner = entry
        self._bytes -= len(value)
        holder = self._holders[owner]
        holder.size -= len(value)
        del holder.keys[key]
        if not holder.keys:
            del self._holders[owner]

    def sweep(self) -> None:
        """Drop what has expired, unless that was done just now."""
        if self._clock() - self._swept_at >= _SWEEP_S:
            self._sweep()

    def _sweep(self) -> None:
        now = self._swept_at = self._clock()
        for key in [key for key, (_, expires, _) in self._entries.items() if expires <= now]:
            self.drop(key)
