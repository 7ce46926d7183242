"""The state backend of a server that is one process: bounded dictionaries, by kind and by owner."""

import time
from collections.abc import Callable, Sequence
from typing import Final

from mcp_server.store.backend import LOCKS, MAX_BYTES, MAX_ENTRIES, OVERHEAD, Message, Receive
from mcp_server.store.expiring_map import ExpiringMap
from mcp_server.store.jobs.queue import InMemoryJobs, JobQueue, Lease

OF_ONE_OWNER: Final = 4
"""The claims of one owner take at most one part in so many of the room: nobody fills it for the others."""


class InMemoryBackend:
    """A state backend in memory: whoever holds most makes room first; tasks and claims do not go before their time.

    Event logs and tasks hold what handlers return, so each kind has room of its own: however much is said, no session
    is forgotten for it and no claim becomes good again. Not Litestar's `MemoryStore`: that one has no bound and yields
    to the loop at each look-up.
    """

    worker = "w"
    distributed = False

    def __init__(
        self,
        max_entries: int = MAX_ENTRIES,
        max_bytes: int = MAX_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kinds = {
            kind: ExpiringMap(max_entries, max_bytes, clock, keeps=kind in ("task", "claim", LOCKS))
            for kind in ("event", "", "task", "claim", LOCKS)
        }
        self._sets: dict[str, dict[bytes, float]] = {}
        self._clock = clock
        self._leases: dict[str, Lease] = {}
        self._claimants: dict[str, float] = {}
        self.jobs: JobQueue = InMemoryJobs(self.worker, self._room, clock, self._leases, self._claimants)
        self._of_one_owner = max(1, max_entries // OF_ONE_OWNER) * OVERHEAD

    def _room(self, key: str) -> ExpiringMap:
        return self._kinds.get(key.partition(":")[0]) or self._kinds[""]

    def _claimed(self, key: str) -> ExpiringMap:
        return self._kinds[LOCKS if key.startswith(f"{LOCKS}:") else "claim"]

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
        room = self._room(f"{kind}:")
        room.sweep()
        return room.held(owner)

    async def delete(self, key: str) -> bool:
        """Forget a value; whether there was one."""
        room = self._room(key)
        was = room.get(key, None) is not None
        room.drop(key)
        return was

    async def claim(self, key: str, ttl_s: float, token: str = "", owner: str = "") -> bool:
        """Whether nobody has claimed it yet."""
        return self._claimed(key).claim(key, ttl_s, token.encode(), owner, self._of_one_owner)

    async def extend(self, key: str, token: str, ttl_s: float) -> bool:
        """Whether the claim is still this token's."""
        room, mine = self._claimed(key), token.encode()
        if room.get(key, None) != mine:
            return False
        room.set(key, mine, ttl_s)
        return True

    async def release(self, key: str, token: str) -> None:
        """Let it be claimed again, unless the claim is another's by now."""
        room = self._claimed(key)
        if room.get(key, None) == token.encode():
            room.drop(key)

    async def remember(self, name: str, value: bytes, until: float, limit: int) -> None:
        """Add to a set of values that expire."""
        there = self._sets.setdefault(name, {})
        there[value] = until
        for gone in sorted(there, key=there.__getitem__)[: max(0, len(there) - limit)]:
            del there[gone]

    async def remembered(self, name: str) -> list[bytes]:
        """The set's values whose time is not over."""
        now = time.time()
        there = self._sets[name] = {value: until for value, until in self._sets.get(name, {}).items() if now < until}
        return list(there)

    async def publish(self, messages: Sequence[Message]) -> None:
        """Nobody else is there."""

    async def start(self, receive: Receive) -> None:
        """Nothing to hear."""

    async def stop(self) -> None:
        """Nothing was heard."""
