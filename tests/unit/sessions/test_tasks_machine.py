"""Lives of tasks on several workers, as a state machine; over a real Redis in `store/test_tasks_of_redis.py`."""

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any, ClassVar

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mcp_server.protocol.types.tasks import TERMINAL
from mcp_server.sessions.tasks import Tasks
from mcp_server.store.backend import StoreUnavailable
from tests.kit.backends import Found, settle
from tests.kit.tasks import ALICE, ANSWER, Handlers, Pair, Work


class Lives(RuleBasedStateMachine):
    """Tasks of two workers that stall, lose their leases, are killed and come back, hand back and end late.

    What is over stays as it is; a run whose lease was taken ends, and writes nothing; in the end each task that may run
    again has ended, for it was never lost.
    """

    turns: ClassVar[int] = 20

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.handlers = Handlers()
        self.works: dict[str, Work] = {}
        self.ends: dict[str, bytes] = {}
        self.tasks: list[Tasks] = []

    def run(self, work: Coroutine[Any, Any, Found]) -> Found:
        async def whole() -> Found:
            try:
                return await work
            finally:
                await settle(self.turns)

        return self.loop.run_until_complete(whole())

    def one_of(self, data: st.DataObject) -> str | None:
        return data.draw(st.sampled_from(sorted(self.works))) if self.works else None

    @rule(worker=st.integers(0, 1), asks=st.booleans())
    def start(self, worker: int, asks: bool) -> None:
        work = Work(asks=asks)
        with contextlib.suppress(StoreUnavailable):
            created = self.run(self.tasks[worker].start(self.handlers.begun(work)))
            self.works[created.task_id] = work

    @rule(data=st.data())
    def returns(self, data: st.DataObject) -> None:
        if (task_id := self.one_of(data)) is not None:
            self.works[task_id].gate.set()
            self.run(settle())

    @rule(data=st.data(), worker=st.integers(0, 1), answers=st.booleans())
    def asked(self, data: st.DataObject, worker: int, answers: bool) -> None:
        if (task_id := self.one_of(data)) is None:
            return

        async def act() -> None:
            record = await self.tasks[worker].find(task_id, ALICE)
            assert record is not None
            if answers:
                await self.tasks[worker].answer(record, ANSWER)
            else:
                await self.tasks[worker].cancel(record)

        with contextlib.suppress(StoreUnavailable):
            self.run(act())

    @rule(worker=st.integers(0, 1))
    def renews(self, worker: int) -> None:
        self.run(self.tasks[worker].leases.renew())
        self.hold_what_is_theirs(worker)

    @rule(worker=st.integers(0, 1))
    def claims_what_has_run_out(self, worker: int) -> None:
        async def claim() -> None:
            with contextlib.suppress(StoreUnavailable):
                await self.run_out()
                await self.tasks[worker].leases.claim()

        self.run(claim())

    @rule(worker=st.integers(0, 1))
    def hands_back(self, worker: int) -> None:
        async def hand_back() -> None:
            with contextlib.suppress(TimeoutError, StoreUnavailable):
                async with asyncio.timeout(0.02):
                    await self.tasks[1 - worker].leases.claim()
                    await self.tasks[worker].hand_back()

        self.run(hand_back())
        self.tasks[worker].leases.claims = True

    def hold_what_is_theirs(self, worker: int) -> None:
        """After a renewal, what runs here is leased to this worker."""

    async def run_out(self) -> None:
        """Let all leases run out."""

    def all_there(self) -> None:
        """The store is there for all."""

    @invariant()
    def what_has_ended_does_not_change(self) -> None:
        async def look() -> None:
            for task_id in self.works:
                record = await self.tasks[0].find(task_id, ALICE)
                assert record is not None
                if record.status in TERMINAL:
                    shown = msgspec.json.encode(record.wire())
                    assert self.ends.setdefault(task_id, shown) == shown

        if self.tasks:
            self.loop.run_until_complete(look())

    def teardown(self) -> None:
        self.all_there()
        self.run(self.all_end())
        for tasks in self.tasks:
            self.run(tasks.stop())
        assert not any(tasks.running for tasks in self.tasks)
        assert not any(tasks._limiter.holders for tasks in self.tasks)
        self.loop.close()

    async def all_end(self) -> None:
        """Nothing is lost: what is answered and may return does, on whichever worker."""
        for work in self.works.values():
            work.gate.set()
        async with asyncio.timeout(60):
            for task_id in self.works:
                while True:
                    await self.run_out()
                    await self.tasks[0].leases.claim()
                    await settle()
                    record = await self.tasks[1].find(task_id, ALICE)
                    assert record is not None
                    if record.over:
                        break
                    await self.tasks[1].answer(record, dict.fromkeys(record.questions, ANSWER["q"]))
                assert record.status in ("completed", "cancelled") or record.lost > 1


class InMemory(Lives):
    """Over workers of one memory, whose clock is turned, and who may be cut off from it."""

    def __init__(self) -> None:
        super().__init__()
        self.pair = self.loop.run_until_complete(Pair().begin())
        self.handlers, self.tasks = self.pair.handlers, [self.pair.here, self.pair.there]

    @rule(worker=st.integers(0, 1), what=st.sampled_from(["away", "deaf"]), so=st.booleans())
    def weather(self, worker: int, what: str, so: bool) -> None:
        setattr(self.pair.backends[worker], what, so)
        if what == "deaf" and not so:
            self.run(self.hears(worker))

    async def hears(self, worker: int) -> None:
        self.pair.backends[worker].hears_again()

    def hold_what_is_theirs(self, worker: int) -> None:
        if not self.pair.backends[worker].away:
            held = {one for one, (whose, _) in self.pair.workers.memory._leases.items() if whose == f"w{worker}"}
            assert {one for one, run in self.tasks[worker]._running.items() if not run.settling} <= held

    async def run_out(self) -> None:
        self.pair.clock.now += 30

    def all_there(self) -> None:
        for backend in self.pair.backends:
            backend.away = False

    @invariant()
    def what_has_ended_does_not_change(self) -> None:
        away = [one.away for one in self.pair.backends]
        self.all_there()
        super().what_has_ended_does_not_change()
        for one, was in zip(self.pair.backends, away, strict=True):
            one.away = was


TestInMemory = InMemory.TestCase
TestInMemory.settings = settings(max_examples=20, stateful_step_count=15, deadline=None)
