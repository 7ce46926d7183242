"""Ledgers for tests: the accounts of several workers in a dictionary, and in a real Redis whose clock a test turns."""

import math
from collections.abc import Callable

from redis.asyncio import Redis

from mcp_server.engine.limiting import SharedLimitLedger
from mcp_server.limits.allowances import SLOT_LEASE_S
from mcp_server.limits.ledger import Batch, Entry, Settled
from mcp_server.store import limit_script
from mcp_server.store.redis import RedisBackend
from tests.kit.backends import Clock

TURNED = "{0, redis.call('GET', KEYS[n + 1] .. ':clock')}"
"""Microseconds that the test has written."""


class Accounts:
    """What the script of Redis does, said once more in Python. `workers` are those that have settled."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.paid: dict[str, float] = {}
        self.counts: dict[str, int] = {}
        self.slots: dict[str, dict[str, tuple[int, float]]] = {}
        self.workers: set[str] = set()

    def settle(self, worker: str, batch: Batch) -> Settled:
        self.workers.add(worker)
        for entry in batch.entries:
            self.charge(worker, entry, entry.used)
        answers = []
        for ask in batch.asks:
            waits = [(self.wait(batch.entries[place], ask.cost), place) for place in ask.places]
            longest, place = max(waits, key=lambda one: one[0])
            if not longest:
                for one in ask.places:
                    entry = batch.entries[one]
                    self.charge(worker, entry, ask.cost if entry.kind == "quota" else 1, more=True)
            answers.append((longest, place))
        return Settled([self.state(worker, entry) for entry in batch.entries], answers, len(self.workers))

    def charge(self, worker: str, entry: Entry, used: int, *, more: bool = False) -> None:
        now = self.clock() * 1e6
        if entry.kind == "rate":
            self.paid[entry.key] = max(self.paid.get(entry.key, 0.0), now) + used * entry.step
        elif entry.kind == "quota":
            self.counts[entry.key] = max(self.counts.get(entry.key, 0) + used, 0)
        else:
            held = self.slots.setdefault(entry.key, {})
            before = held.get(worker, (0, 0.0))[0] if more else 0
            held[worker] = before + used, self.clock() + SLOT_LEASE_S

    def wait(self, entry: Entry, cost: int) -> int:
        if entry.kind == "rate":
            return max(math.ceil(self.paid[entry.key] - self.clock() * 1e6 - entry.bound - 1), 0)
        if entry.kind == "quota":
            return 0 if self.counts[entry.key] + cost <= entry.bound else math.ceil(entry.step * 1000)
        held = sum(count for count, ends in self.slots[entry.key].values() if ends > self.clock())
        return 0 if held < entry.bound else 1_000_000

    def state(self, worker: str, entry: Entry) -> int:
        if entry.kind == "rate":
            return math.ceil(self.paid[entry.key] - self.clock() * 1e6)
        return self.counts[entry.key] if entry.kind == "quota" else self.slots[entry.key][worker][0]


class MemoryLedger:
    """One worker's way to them. `away` is the store."""

    def __init__(self, accounts: Accounts, worker: str) -> None:
        self._accounts, self._worker, self.away = accounts, worker, False

    async def settle(self, batch: Batch) -> Settled | None:
        return None if self.away else self._accounts.settle(self._worker, batch)


class TurnedLedger:
    """One worker's way to accounts in a real Redis, in which it is as late as the clock says."""

    def __init__(self, backend: RedisBackend, clock: Clock) -> None:
        self._clock, self._redis = clock, backend._redis
        backend._settle = backend._redis.register_script(limit_script.script(TURNED))
        self._backend, self._ledger = backend, SharedLimitLedger(backend)

    async def settle(self, batch: Batch) -> Settled | None:
        redis: Redis = self._redis
        await redis.set(self._backend._key("limiters:clock"), round(self._clock.now * 1e6))
        return await self._ledger.settle(batch)
