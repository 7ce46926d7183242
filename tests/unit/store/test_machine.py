"""The store as a state machine: whatever is done by whichever worker, it is a dictionary whose entries expire."""

import asyncio
import secrets
from collections.abc import Coroutine
from typing import Any, ClassVar, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from mcp_server.store.backend import OVERHEAD, StateBackend
from mcp_server.store.redis import RedisBackend
from tests.kit.backends import Clock, Workers

Found = TypeVar("Found")
LIMIT = 5 * (OVERHEAD + 50)
KEYS = st.sampled_from([f"{kind}:{name}" for kind in ("session", "task", "event") for name in "ab"])
VALUES = st.binary(max_size=60)
OWNERS = st.sampled_from(["p", "q"])
LIVES = st.sampled_from([50, 100])


class Store(RuleBasedStateMachine):
    """A model beside the store; `clock` is None of a store whose time is its own."""

    clock: Clock | None

    def __init__(self, workers: list[StateBackend], clock: Clock | None = None) -> None:
        super().__init__()
        self.loop, self.workers, self.clock = asyncio.new_event_loop(), workers, clock
        self.kept: dict[str, tuple[bytes, float, str]] = {}
        self.claimed: dict[str, tuple[str, float]] = {}
        self.counted = True
        """Whether all that is kept came by `keep`: what is set is counted by no ledger."""

    def run(self, work: Coroutine[Any, Any, Found]) -> Found:
        return self.loop.run_until_complete(work)

    @property
    def now(self) -> float:
        return 0.0 if self.clock is None else self.clock.now

    def stands(self, key: str) -> bytes | None:
        value, until, _ = self.kept.get(key, (b"", 0.0, ""))
        return value if until > self.now else None

    @rule(worker=st.integers(0, 1), key=KEYS, value=VALUES, life=LIVES, owner=OWNERS)
    def set(self, worker: int, key: str, value: bytes, life: float, owner: str) -> None:
        self.run(self.workers[worker].set(key, value, life, owner))
        self.kept[key] = value, self.now + life, owner

    @rule(worker=st.integers(0, 1), key=KEYS, renew=st.sampled_from([None, 100.0]))
    def get(self, worker: int, key: str, renew: float | None) -> None:
        stands = self.stands(key)
        assert self.run(self.workers[worker].get(key, renew)) == stands
        if stands is not None and renew is not None:
            value, until, owner = self.kept[key]
            self.kept[key] = value, max(until, self.now + renew) if until - self.now >= 95 else self.now + renew, owner

    @rule(worker=st.integers(0, 1), key=KEYS)
    def delete(self, worker: int, key: str) -> None:
        self.run(self.workers[worker].delete(key))
        self.kept.pop(key, None)

    @rule(worker=st.integers(0, 1), name=st.sampled_from("cd"), token=st.sampled_from("xy"), life=LIVES)
    def claim(self, worker: int, name: str, token: str, life: float) -> None:
        free = self.claimed.get(name, ("", 0.0))[1] <= self.now
        mine = not free and self.claimed[name][0] == token and isinstance(self.workers[0], RedisBackend)
        assert self.run(self.workers[worker].claim(name, life, token)) is (free or mine)
        if free:
            self.claimed[name] = token, self.now + life

    @rule(worker=st.integers(0, 1), name=st.sampled_from("cd"), token=st.sampled_from("xy"), life=LIVES)
    def extend(self, worker: int, name: str, token: str, life: float) -> None:
        held = self.claimed.get(name, ("", 0.0))
        mine = held[0] == token and held[1] > self.now
        assert self.run(self.workers[worker].extend(name, token, life)) is mine
        if mine:
            self.claimed[name] = token, self.now + life

    @rule(worker=st.integers(0, 1), name=st.sampled_from("cd"), token=st.sampled_from("xy"))
    def release(self, worker: int, name: str, token: str) -> None:
        self.run(self.workers[worker].release(name, token))
        if self.claimed.get(name, ("", 0.0))[0] == token:
            del self.claimed[name]

    @precondition(lambda self: self.clock is not None)
    @rule(worker=st.integers(0, 1), key=KEYS, value=VALUES, owner=OWNERS)
    def keep(self, worker: int, key: str, value: bytes, owner: str) -> None:
        kind = key.partition(":")[0]
        others = sum(
            len(one) + OVERHEAD
            for name, (one, until, whose) in self.kept.items()
            if name != key and whose == owner and until > self.now and name.startswith(kind)
        )
        fits = others + len(value) + OVERHEAD <= LIMIT
        backend = self.workers[worker]
        kept = self.run(backend.keep(key, value, 50, owner=owner, limit=LIMIT, charge=len(value)))
        assert kept is fits
        if kept:
            self.kept[key] = value, self.now + 50, owner

    @precondition(lambda self: self.clock is not None)
    @rule(seconds=st.sampled_from([0.25, 1, 49, 50, 101]))
    def wait(self, seconds: float) -> None:
        if self.clock is not None:
            self.clock.now += seconds

    @invariant()
    def both_workers_see_what_stands(self) -> None:
        async def look() -> list[tuple[bytes | None, bytes | None]]:
            return [(await self.workers[0].get(key), await self.workers[1].get(key)) for key in self.kept]

        assert self.run(look()) == [(self.stands(key),) * 2 for key in self.kept]

    def teardown(self) -> None:
        for worker in self.workers:
            self.run(worker.stop())
        self.loop.close()


class InMemory(Store):
    """Over two workers of one memory, and with time."""

    def __init__(self) -> None:
        clock = Clock()
        workers = Workers(clock)
        super().__init__([workers.join(), workers.join()], clock)
        self.memory = workers.memory

    @invariant()
    def what_is_counted_is_what_is_there(self) -> None:
        for room in self.memory._kinds.values():
            assert room._bytes == sum(len(value) for value, _, _ in room._entries.values())
            assert sorted(key for slot in room._slots.values() for key in slot) == sorted(room._entries)
            assert sum(len(one.keys) for one in room._holders.values()) == len(room._entries)


TestInMemory = InMemory.TestCase
TestInMemory.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)


class OverRedis(Store):
    """Over two workers of a real Redis, whose time is its own."""

    url: ClassVar[str]

    def __init__(self) -> None:
        resource = secrets.token_hex(8)
        super().__init__([RedisBackend(self.url, resource), RedisBackend(self.url, resource)])


def test_a_real_redis_is_the_same_machine(redis_url: str) -> None:
    OverRedis.url = redis_url
    run_state_machine_as_test(OverRedis, settings=settings(max_examples=5, stateful_step_count=12, deadline=None))
