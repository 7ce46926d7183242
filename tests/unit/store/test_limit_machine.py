"""The shared limits as a state machine: workers that begin, settle late, die; over memory and over a real Redis.

Whatever happens, no more is let through than a limit allows and one credit of each worker, nobody starves, and who
waits as long as he was told is let in, by the store or at the door.
"""

import asyncio
import itertools
import secrets
from bisect import insort
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from mcp_server.limits.accounts import FRESH_S
from mcp_server.limits.allowances import SLOT_LEASE_S, Allowances, Ask, Grant, Refusal, Sent, Wanted
from mcp_server.limits.ledger import Ledger, Settled
from mcp_server.limits.rule import Limit, read
from mcp_server.store.redis import RedisBackend
from tests.kit.backends import Clock
from tests.kit.ledgers import Accounts, MemoryLedger, TurnedLedger

Found = TypeVar("Found")
WORKERS = 3
START = 1_800_000_000.0
LIMITS = [read(text) for text in ("4/s burst 3 per principal", "10/m", "6/day per client", "2 at once", "40/s")]
SETS = [(0,), (0, 1), (2,), (3,), (0, 3), (1, 2, 3), (4,), (0, 2)]
COSTS = {(1, 2, 3): 2, (0, 2): 3}
"""What a call counts in the quota among its limits, if not one."""
Key = tuple[str, str]


class Worker:
    """One worker, and what it has under way."""

    def __init__(self, ledger: Ledger | None, clock: Clock) -> None:
        self.ledger = ledger
        self.allowances = Allowances(shared=ledger is not None, workers=WORKERS, clock=clock, wall=clock)
        self.asks: list[tuple[Ask, list[Wanted]]] = []
        self.running: list[tuple[Grant, list[Wanted]]] = []
        self.on_its_way: tuple[Sent, Settled | None] | None = None
        self.sent_at = START


class Limiter(RuleBasedStateMachine):
    """All workers of one store, or with `shared` false one alone."""

    shared = True

    def __init__(self) -> None:
        super().__init__()
        self.clock, self.loop = Clock(), asyncio.new_event_loop()
        self.clock.now = self.renewed = START
        self.join = self.opened()
        self.workers = [self.join() for _ in range(WORKERS if self.shared else 1)]
        self.begun: dict[Key, list[float]] = {}
        self.died = 0

    def opened(self) -> Callable[[], Worker]:
        accounts, names = Accounts(self.clock), itertools.count()
        return lambda: Worker(MemoryLedger(accounts, f"w{next(names)}"), self.clock)

    def run(self, work: Coroutine[Any, Any, Found]) -> Found:
        return self.loop.run_until_complete(work)

    def wanted(self, which: tuple[int, ...], who: str) -> list[Wanted]:
        named = [(LIMITS[one], who if LIMITS[one].per else "") for one in which]
        return [Wanted(one, "tool", f"t\n{one.text}", subject, cost=COSTS.get(which, 1)) for one, subject in named]

    def began(self, worker: Worker, grant: Grant, wanted: list[Wanted], at: float) -> None:
        """`at` is when it was counted: an answer that is late makes no call more."""
        worker.running.append((grant, wanted))
        for one in wanted:
            for _ in range(one.cost if one.limit.kind == "day" else 1):
                insort(self.begun.setdefault((one.limit.text, one.subject), []), at)

    def settle(self, worker: Worker) -> None:
        self.send(worker)
        self.receive(worker)

    def send(self, worker: Worker) -> None:
        if worker.ledger is not None and worker.on_its_way is None and (sent := worker.allowances.collect()):
            worker.sent_at = self.clock.now
            worker.on_its_way = sent, self.run(worker.ledger.settle(sent.batch))

    def receive(self, worker: Worker) -> None:
        if worker.on_its_way is None:
            return
        worker.allowances.apply(*worker.on_its_way)
        worker.on_its_way = None
        still = []
        for ask, wanted in worker.asks:
            if isinstance(ask.answer, Grant):
                self.began(worker, ask.answer, wanted, worker.sent_at)
            elif ask.answer is None:
                still.append((ask, wanted))
        worker.asks = still

    def settle_all(self) -> None:
        for worker in self.workers:
            self.receive(worker)
            for _ in range(2):
                self.settle(worker)

    def try_to_begin(self, worker: Worker, wanted: list[Wanted]) -> Refusal | None:
        """With the store's word where it is asked for."""
        found = worker.allowances.begin(wanted)
        if isinstance(found, Ask):
            worker.asks.append((found, wanted))
            self.settle(worker)
            assert found.answer is not None
            return found.answer if isinstance(found.answer, Refusal) else None
        if isinstance(found, Grant):
            self.began(worker, found, wanted, self.clock.now)
            return None
        return found

    @rule(
        at=st.integers(0, WORKERS - 1), which=st.sampled_from(SETS), who=st.sampled_from("pq"), times=st.integers(1, 5)
    )
    def begin(self, at: int, which: tuple[int, ...], who: str, times: int) -> None:
        self.calls(at, which, who, times)

    def calls(self, at: int, which: tuple[int, ...], who: str, times: int) -> None:
        worker, wanted = self.workers[at % len(self.workers)], self.wanted(which, who)
        for _ in range(times):
            found = worker.allowances.begin(wanted)
            if isinstance(found, Ask):
                worker.asks.append((found, wanted))
            elif isinstance(found, Grant):
                self.began(worker, found, wanted, self.clock.now)
            else:
                assert found.wait_s > 0

    @rule(which=st.sampled_from(SETS), seconds=st.sampled_from([0.05, 0.25, 1]), late=st.booleans())
    def flood(self, which: tuple[int, ...], seconds: float, late: bool) -> None:
        """Everywhere and again and again; what was said on the way is heard `late`."""
        for _ in range(6):
            for at in range(len(self.workers)):
                self.calls(at, which, "p", 3)
                self.send(self.workers[at])
                if not late:
                    self.receive(self.workers[at])
            self.pass_time(seconds)
            for worker in self.workers:
                self.receive(worker)
                while worker.running:
                    worker.running.pop()[0].release()

    @rule(at=st.integers(0, WORKERS - 1))
    def says(self, at: int) -> None:
        self.send(self.workers[at % len(self.workers)])

    @rule(at=st.integers(0, WORKERS - 1))
    def hears(self, at: int) -> None:
        self.receive(self.workers[at % len(self.workers)])

    @rule(at=st.integers(0, WORKERS - 1), last=st.booleans())
    def end(self, at: int, last: bool) -> None:
        if running := self.workers[at % len(self.workers)].running:
            running.pop(-1 if last else 0)[0].release()

    @rule(at=st.integers(0, WORKERS - 1))
    def hangs_up(self, at: int) -> None:
        if asks := self.workers[at % len(self.workers)].asks:
            self.workers[at % len(self.workers)].allowances.abandon(asks.pop()[0])

    @rule(seconds=st.sampled_from([0.01, 0.05, 0.25, 1, 7, 61]))
    def pass_time(self, seconds: float) -> None:
        """A worker that lives says so in time: it renews what it holds, and hears no answer later than a lease."""
        until = self.clock.now + seconds
        while (renewal := self.renewed + SLOT_LEASE_S / 4) <= until:
            self.clock.now = self.renewed = max(renewal, self.clock.now)
            self.settle_all()
        self.clock.now = until

    @rule()
    def next_day(self) -> None:
        self.pass_time(1)
        self.settle_all()
        for worker in self.workers:
            while worker.running:
                worker.running.pop()[0].release()
        self.jump(86_400)
        self.settle_all()

    def jump(self, seconds: float) -> None:
        """Time in which nothing runs, and nothing is on its way."""
        self.clock.now += seconds
        self.renewed = self.clock.now

    @precondition(lambda self: self.shared)
    @rule(at=st.integers(0, WORKERS - 1))
    def die(self, at: int) -> None:
        """No process begins sooner than a refusal by memory ends."""
        self.pass_time(FRESH_S)
        self.workers[at] = self.join()
        self.died += 1

    @rule(at=st.integers(0, WORKERS - 1), which=st.sampled_from(SETS), who=st.sampled_from("pq"))
    def who_waits_as_told_is_let_in(self, at: int, which: tuple[int, ...], who: str) -> None:
        """At whatever worker he comes back, unless what runs is in the way."""
        self.settle_all()
        worker, wanted = self.workers[at % len(self.workers)], self.wanted(which, who)
        refused = worker.allowances.behind(wanted) if len(wanted) == 1 else None
        refused = refused or self.try_to_begin(worker, wanted)
        if refused is None or refused.limit.kind == "at_once":
            return
        for worker in self.workers:
            while worker.running:
                worker.running.pop()[0].release()
        self.settle_all()
        self.jump(refused.wait_s + 1e-5)
        again = self.try_to_begin(self.workers[(at + 1) % len(self.workers)], wanted)
        if again is not None and again.limit.kind == "at_once":  # of one that died
            self.jump(SLOT_LEASE_S)
            again = self.try_to_begin(self.workers[at % len(self.workers)], wanted)
        assert again is None

    @invariant()
    def no_more_than_allowed_and_the_credits(self) -> None:
        for (text, _), times in self.begun.items():
            limit = read(text)
            if limit.kind == "rate":
                self.keeps_pace(limit, times)
            elif limit.kind == "day":
                for _, day in itertools.groupby(times, lambda at: int(at // 86_400)):
                    assert len(list(day)) <= limit.count + self.excess(max(COSTS.values()))

    def excess(self, credit: int) -> int:
        return credit * (WORKERS + self.died) if self.shared else 0

    def keeps_pace(self, limit: Limit, times: list[float]) -> None:
        most = limit.burst + self.excess(max(1, int(0.05 / limit.step_s)))
        for first, last in itertools.combinations(range(len(times)), 2):
            assert last - first + 1 <= most + (times[last] - times[first]) / limit.step_s + 1e-3

    @invariant()
    def never_more_at_once(self) -> None:
        for limit in LIMITS:
            if limit.kind == "at_once":
                running = [one for worker in self.workers for one in worker.running]
                assert sum(any(w.limit == limit for w in wanted) for _, wanted in running) <= limit.count

    @invariant()
    def what_is_not_needed_is_not_remembered(self) -> None:
        for worker in self.workers:
            assert len(worker.allowances._known) <= len(LIMITS) * 2

    def teardown(self) -> None:
        self.loop.close()


class InMemory(Limiter):
    """Over accounts in a dictionary."""


class Alone(Limiter):
    """One worker that shares nothing."""

    shared = False

    def opened(self) -> Callable[[], Worker]:
        return lambda: Worker(None, self.clock)


@pytest.mark.parametrize("door", [True, False])
def test_the_seconds_told_are_true_though_another_worker_began_on_credit_since(door: bool) -> None:
    """Found by the machine: what was heard of the store just now is not all that has begun."""
    machine = InMemory()
    machine.calls(2, (0,), "p", 3)
    machine.settle_all()
    assert machine.try_to_begin(machine.workers[0], machine.wanted((0,), "p")) is None
    machine.settle_all()
    wanted = machine.wanted((0,), "p")
    at = machine.workers[2]
    refused = at.allowances.behind(wanted) if door else machine.try_to_begin(at, wanted)
    assert refused is not None
    assert refused.wait_s == pytest.approx(0.5 + 0.25 * door, abs=1e-5), (
        "the door reckons with a credit of each other worker"
    )
    machine.jump(refused.wait_s + 1e-5)
    assert machine.try_to_begin(machine.workers[0], wanted) is None
    machine.teardown()


TestInMemory = InMemory.TestCase
TestInMemory.settings = settings(max_examples=10, stateful_step_count=25, deadline=None)
TestAlone = Alone.TestCase
TestAlone.settings = settings(max_examples=5, stateful_step_count=25, deadline=None)


class OverRedis(Limiter):
    """Over a real Redis."""

    url: ClassVar[str]

    def opened(self) -> Callable[[], Worker]:
        resource = secrets.token_hex(8)
        self.stores: list[RedisBackend] = []

        def join() -> Worker:
            self.stores.append(RedisBackend(self.url, resource))
            return Worker(TurnedLedger(self.stores[-1], self.clock), self.clock)

        return join

    def teardown(self) -> None:
        for store in self.stores:
            self.run(store._redis.aclose())
        super().teardown()


def test_a_real_redis_is_the_same_machine(redis_url: str) -> None:
    OverRedis.url = redis_url
    run_state_machine_as_test(OverRedis, settings=settings(max_examples=3, stateful_step_count=15, deadline=None))
