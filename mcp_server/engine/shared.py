"""What the workers of one server share: small values that expire, and messages to each other."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, Protocol

MAX_ENTRIES: Final = 200_000
MAX_BYTES: Final = 64 * 1024 * 1024
"""Of each kind."""
ALONE_S: Final = 2.0
RETRY_S: Final = 0.01
RENEWED_BELOW: Final = 0.95
"""A life that is nearly whole is not renewed: most look-ups then write nothing."""
_SWEEP_EVERY: Final = 1_000  # writes

Receive = Callable[[bytes], None]


class StoreAway(Exception):
    """The shared store cannot be reached: what needs it can be tried again later."""


class StoreFull(StoreAway):
    """There is no room for what must not be forgotten before its time."""


class Shared(Protocol):
    """A store with expiry and a bus; `worker` names this process, `spans` whether others see the same.

    Every coroutine but `start` and `stop` raises `StoreAway`.
    """

    worker: str
    spans: bool

    async def get(self, key: str, renew_s: float | None = None) -> bytes | None:
        """The value, its life renewed when asked; None when there is none any more."""

    async def set(self, key: str, value: bytes, ttl_s: float) -> None:
        """Keep a value for so many seconds."""

    async def delete(self, key: str) -> None:
        """Forget a value."""

    async def claim(self, key: str, ttl_s: float) -> bool:
        """Whether this is the first claim of the key within its time, on whatever worker."""

    async def release(self, key: str) -> None:
        """Let the key be claimed again."""

    async def broadcast(self, message: bytes) -> None:
        """To every other worker."""

    async def send(self, worker: str, message: bytes) -> None:
        """To one other worker."""

    async def start(self, receive: Receive) -> None:
        """Begin to hear other workers."""

    async def stop(self) -> None:
        """Hear no more."""


@asynccontextmanager
async def alone(shared: Shared, name: str) -> AsyncIterator[None]:
    """Of all workers one at a time, for a change of milliseconds; one that dies in it is waited for `ALONE_S`.

    Raises `StoreAway` where the wait is longer than any such change could be.
    """
    key = f"alone:{name}"
    for _ in range(int(2 * ALONE_S / RETRY_S)):
        if await shared.claim(key, ALONE_S):
            break
        await asyncio.sleep(RETRY_S)
    else:
        raise StoreAway(f"{name} is being changed elsewhere")
    try:
        yield
    finally:
        await shared.release(key)


class MemoryShared:
    """For one process: bounded dictionaries, the oldest entries going first; tasks do not go before their time.

    Replays and tasks hold what handlers return, so each kind has room of its own: however much is said, no session is
    forgotten for it and no claim becomes good again. Not Litestar's `MemoryStore`: that one has no bound and yields to
    the loop at each look-up.
    """

    worker = "w"
    spans = False

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

    async def set(self, key: str, value: bytes, ttl_s: float) -> None:
        """Keep a value; older ones of its kind make room, or it raises `StoreFull`."""
        self._room(key).set(key, value, ttl_s)

    async def delete(self, key: str) -> None:
        """Forget a value."""
        self._room(key).drop(key)

    async def claim(self, key: str, ttl_s: float) -> bool:
        """Whether nobody has claimed it yet."""
        room, key = self._kinds["claim"], f"claim:{key}"
        if room.get(key, None) is not None:
            return False
        room.set(key, b"", ttl_s)
        return True

    async def release(self, key: str) -> None:
        """Let it be claimed again."""
        self._kinds["claim"].drop(f"claim:{key}")

    async def broadcast(self, message: bytes) -> None:
        """Nobody else is there."""

    async def send(self, worker: str, message: bytes) -> None:
        """Nobody else is there."""

    async def start(self, receive: Receive) -> None:
        """Nothing to hear."""

    async def stop(self) -> None:
        """Nothing was heard."""


class _Room:
    """Values of one kind; those that it `keeps` do not make room for others."""

    def __init__(self, max_entries: int, max_bytes: int, clock: Callable[[], float], *, keeps: bool = False) -> None:
        self._clock, self._keeps = clock, keeps
        self._entries: dict[str, tuple[bytes, float]] = {}
        self._bytes = 0
        self._writes = 0
        self._max_entries, self._max_bytes = max_entries, max_bytes

    def get(self, key: str, renew_s: float | None) -> bytes | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        value, expires = entry
        now = self._clock()
        if expires <= now:
            self.drop(key)
            return None
        if renew_s is not None and expires - now < renew_s * RENEWED_BELOW:
            del self._entries[key]
            self._entries[key] = (value, now + renew_s)
        return value

    def set(self, key: str, value: bytes, ttl_s: float) -> None:
        if self._keeps and not self._fits(key, value):
            self._sweep()
            if not self._fits(key, value):
                raise StoreFull("no room")
        self.drop(key)
        self._entries[key] = (value, self._clock() + ttl_s)
        self._bytes += len(value)
        self._writes += 1
        if self._writes % _SWEEP_EVERY == 0:
            self._sweep()
        while len(self._entries) > self._max_entries or self._bytes > self._max_bytes:
            self.drop(next(iter(self._entries)))

    def _fits(self, key: str, value: bytes) -> bool:
        old = self._entries.get(key)
        more = len(value) - (len(old[0]) if old else 0)
        return self._bytes + more <= self._max_bytes and (old is not None or len(self._entries) < self._max_entries)

    def drop(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= len(entry[0])

    def _sweep(self) -> None:
        now = self._clock()
        for key in [key for key, (_, expires) in self._entries.items() if expires <= now]:
            self.drop(key)
