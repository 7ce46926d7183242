"""Lives of tasks on several workers, as a state machine."""

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from msgspec import Raw

from mcp_server.protocol.types.tasks import TERMINAL
from mcp_server.store.backend import StoreUnavailable
from tests.kit.backends import run_settled, settle
from tests.unit.sessions.test_tasks import ALICE, Found, Work, start
from tests.unit.sessions.test_tasks_of_workers import Pair


class Lives(RuleBasedStateMachine):
    """Tasks on two workers whose signs of life lapse, whose store is away, and who hear nothing for a while."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.pair = self.run(Pair().begin())
        self.tasks = [self.pair.here, self.pair.there]
        self.works: dict[str, Work] = {}
        self.ends: dict[str, bytes] = {}

    def run(self, work: Coroutine[Any, Any, Found]) -> Found:
        return run_settled(self.loop, work)

    def one_of(self, data: st.DataObject) -> str | None:
        return data.draw(st.sampled_from(sorted(self.works))) if self.works else None

    @rule(worker=st.integers(0, 1), asks=st.booleans())
    def start(self, worker: int, asks: bool) -> None:
        with contextlib.suppress(StoreUnavailable):
            work = Work(asks=asks)
            self.works[self.run(start(self.tasks[worker], work))] = work

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
                await self.tasks[worker].answer(record, {"q": Raw(b"{}")})
            else:
                await self.tasks[worker].cancel(record)

        with contextlib.suppress(StoreUnavailable, TimeoutError):
            self.run(asyncio.wait_for(act(), 0.01))

    @rule(worker=st.integers(0, 1), what=st.sampled_from(["lapsed", "away", "deaf"]), so=st.booleans())
    def weather(self, worker: int, what: str, so: bool) -> None:
        setattr(self.pair.backends[worker], what, so)
        if what == "deaf" and not so:
            self.pair.backends[worker].hears_again()

    @invariant()
    def what_has_ended_does_not_change(self) -> None:
        async def look() -> None:
            for task_id in self.works:
                record = await self.tasks[0].find(task_id, ALICE)
                assert record is not None
                if record.status in TERMINAL:
                    shown = msgspec.json.encode(record.wire())
                    assert self.ends.setdefault(task_id, shown) == shown

        away = [one.away for one in self.pair.backends]
        for one in self.pair.backends:
            one.away = False
        self.run(look())
        for one, was in zip(self.pair.backends, away, strict=True):
            one.away = was

    def teardown(self) -> None:
        for backend in self.pair.backends:
            backend.away = False
        for tasks in self.tasks:
            self.run(tasks.stop())
        assert not any(tasks.running for tasks in self.tasks)
        assert not any(tasks._limiter.holders for tasks in self.tasks)
        self.loop.close()


TestLives = Lives.TestCase


TestLives.settings = settings(max_examples=20, stateful_step_count=15, deadline=None)
