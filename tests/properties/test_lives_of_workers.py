"""Sessions, streams, tasks and their store on two workers, as one state machine; over memory and a real Redis.

Everything goes through whole endpoints (`kit.lives`), whose workers are killed between any two awaits, told to stop,
cut off from the store and replaced. `LIVES=400` makes so many lives over each store.
"""

import asyncio
import functools
import os
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule, run_state_machine_as_test

from mcp_server.protocol.types.tasks import TERMINAL
from tests.kit import wire
from tests.kit.backends import settle
from tests.kit.lives.clients import Exchange, Job, closes, opens
from tests.kit.lives.stores import Memory, Real, Store
from tests.kit.lives.streams import INITIALIZE, PEOPLE, WORKER, Streams
from tests.kit.lives.workers import Worker, until
from tests.kit.served import running_redis

LIVES = int(os.environ.get("LIVES", "0"))


class Lives(Streams):
    """Two workers, their clients, and what these may expect.

    What has ended stays as it is. A listener hears of each change once, and where others could not be reached for a
    while, of it in the end. Who comes back to a stream has each message once. Nobody learns of another's. In the end no
    lease is held, and the store has nothing that lasts.
    """

    # Tasks.

    @rule(at=WORKER, who=st.sampled_from(PEOPLE), tool=st.sampled_from(["again", "once"]), asks=st.booleans())
    def start(self, at: int, who: str, tool: str, asks: bool) -> None:
        async def start() -> None:
            exchange = self.start_at(at, who, tool, mark := self.mark("asks" if asks else tool))
            answer = await exchange.answer()
            if not self.sound(self.workers[at]):
                assert exchange.status == 503
                self.doors.gate(mark).set()
                return
            self.jobs[answer["result"]["taskId"]] = Job(mark, who)

        self.run(start())

    def start_at(self, at: int, who: str, tool: str, mark: str) -> Exchange:
        message = wire.modern("tools/call", {"name": tool, "arguments": {"mark": mark}}, self.mark())
        return self.post(at, who, message)

    async def act(self, at: int, who: str, method: str, task_id: str) -> Exchange:
        params: dict[str, Any] = {"taskId": task_id}
        if method == "tasks/update":
            record = await self.record(task_id)
            names = [] if record is None else sorted(record.questions)
            params["inputResponses"] = {name: {"action": "decline"} for name in names}
        return self.post(at, who, wire.modern(method, params, self.mark()))

    @rule(at=WORKER, data=st.data(), what=st.sampled_from(["return", "tasks/cancel", "tasks/update", "tasks/get"]))
    def task(self, at: int, data: st.DataObject, what: str) -> None:
        if not (task_id := self.one(data, list(self.jobs))):
            return

        async def act() -> None:
            job = self.jobs[task_id]
            if what == "return":
                self.doors.gate(job.mark).set()
                return
            exchange = await self.act(at, job.who, what, task_id)
            answer = await exchange.answer()
            assert exchange.status == (200 if self.sound(self.workers[at]) else 503), answer

        self.run(act())

    @rule(at=WORKER)
    def time_passes(self, at: int) -> None:
        """For longer than a lease, in which who is cut off renews none."""
        if not self.sound(self.workers[at]):
            return

        async def claim() -> None:
            await self.store.run_out()
            await self.workers[at].run(self.workers[at].runtime.tasks.leases.claim())

        self.run(claim())

    # What befalls workers.

    @rule(at=WORKER, gently=st.booleans())
    def replace(self, at: int, gently: bool) -> None:
        async def replace() -> None:
            worker = self.workers[at]
            gone = worker.stop() if gently and worker not in self.cut else worker.die()
            self.lost(worker)
            await gone
            self.workers[at] = await self.born()

        self.run(replace())

    def lost(self, worker: Worker) -> None:
        self.doubt |= worker in self.cut
        self.cut.discard(worker)
        for one in self.listeners:  # what it could not tell any more died with it
            one.late = {key: teller for key, teller in one.late.items() if teller is not worker}
        for talk in self.talks:
            if talk.home is worker and not talk.over:
                talk.over = talk.broken = True
                talk.question = ""

    @rule(
        at=WORKER, turns=st.integers(0, 60), data=st.data(),
        what=st.sampled_from(["open", "close", "start", "say", "tasks/update", "tasks/cancel"]),
    )  # fmt: skip
    def die_in_the_midst(self, at: int, turns: int, data: st.DataObject, what: str) -> None:
        worker = self.workers[at]

        async def die() -> None:
            await self.do(what, at, data)
            for _ in range(turns):
                await asyncio.sleep(0)
            await worker.die()
            self.doubt = True
            self.lost(worker)
            self.workers[at] = await self.born()
            await self.store.run_out()  # what the dead held is free by then: nobody waits for it here

        self.run(die())

    async def do(self, what: str, at: int, data: st.DataObject) -> None:
        """Begin something whose end nobody will hear of."""
        if what == "open":
            self.post(at, "alice", wire.legacy("initialize", INITIALIZE))
        elif what == "close" and (session := self.one(data, list(self.sessions))):
            who, _ = self.sessions.pop(session)
            Exchange(self.workers[at], "DELETE", who, mcp_session_id=session)
        elif what == "start":
            self.doors.gate(mark := self.mark("again")).set()
            self.start_at(at, "alice", "again", mark)
        elif what == "say" and (talk := self.one(data, [one for one in self.talks if not one.over])):
            if not talk.question and talk.home.alive:
                self.orders(talk, "say")
                talk.broken = True
        elif what.startswith("tasks/") and (task_id := self.one(data, list(self.jobs))):
            await self.act(at, self.jobs[task_id].who, what, task_id)

    @rule(at=WORKER)
    def store_goes(self, at: int) -> None:
        if len(self.cut) or self.workers[at] in self.cut:
            return

        async def cut() -> None:
            self.cut.add(self.workers[at])
            self.store.sever(self.workers[at])

        self.run(cut())

    @rule()
    def store_is_back(self) -> None:
        self.run(self.back())

    async def back(self) -> None:
        for worker in list(self.cut):
            self.cut.discard(worker)
            await self.store.mend(worker)
        for one in self.listeners:
            if one.exchange.open:
                await until(one.caught_up)
                one.due, one.late = one.told(), {}

    # What others try.

    @rule(at=WORKER)
    def trespass(self, at: int) -> None:
        """With all ids that the other has."""
        if self.cut:
            return

        async def trespass() -> None:
            for session, (owner, _) in list(self.sessions.items())[-2:]:
                other = PEOPLE[owner == "alice"]
                last = next((one.last for one in self.talks if one.session == session and one.last), "")
                tries = [
                    self.post(at, other, wire.legacy("tools/list"), session),
                    self.post(at, other, wire.legacy("resources/subscribe", {"uri": "news://a"}), session),
                    Exchange(self.workers[at], "GET", other, mcp_session_id=session, last_event_id=last),
                    Exchange(self.workers[at], "DELETE", other, mcp_session_id=session),
                ]
                for one in tries:
                    await one.answer()
                    assert one.status == 404, one.content
            for task_id, job in list(self.jobs.items())[-2:]:
                other = PEOPLE[job.who == "alice"]
                for method in ("tasks/get", "tasks/update", "tasks/cancel"):
                    answer = await (await self.act(at, other, method, task_id)).answer()
                    assert answer["error"]["message"] == "Invalid params: unknown task", answer
            await self.steal_streams(at)

        self.run(trespass())

    async def steal_streams(self, at: int) -> None:
        """A place in another's stream, in a session of one's own; and an answer, and a cancellation."""
        for talk in self.talks[-2:]:
            own = next((one for one, (who, _) in self.sessions.items() if who != talk.who), None)
            if own is None or not talk.last:
                continue
            other = self.sessions[own][0]
            exchange = Exchange(self.workers[at], "GET", other, mcp_session_id=own, last_event_id=talk.last)
            await opens(exchange)
            for one in self.listeners:
                if one.session == own:  # an unknown place is a new general stream, which replaces the last one
                    await closes(one.exchange)
            assert exchange.said == []
            exchange.hang_up()
            cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": talk.mark}}
            answered = {"jsonrpc": "2.0", "id": talk.question or "x.y", "result": {"action": "accept", "content": {}}}
            for message in (cancelled, answered):
                await self.post(at, other, message, own).answer()
            await settle()

    # What is always true.

    @invariant()
    def what_has_ended_does_not_change(self) -> None:
        async def look() -> None:
            for task_id, job in self.jobs.items():
                if (record := await self.record(task_id)) is not None and record.status in TERMINAL:
                    job.end = job.end or record
                    assert (job.end.status, job.end.result, job.end.error) == (
                        record.status, record.result, record.error
                    )  # fmt: skip

        if self.workers:
            self.run(look())

    @invariant()
    def streams_are_what_was_said(self) -> None:
        for talk in self.talks:
            talk.read()
            assert talk.got == talk.said[: len(talk.got)], (talk.got, talk.said)
            assert not (talk.closed and talk.session in self.sessions)

    @invariant()
    def listeners_know(self) -> None:
        async def look() -> None:
            for one in self.listeners:
                if one.exchange.open:
                    assert one.told() == one.due, (one.told(), one.due, one.late)
                for task_id in one.tasks if one.exchange.open and not self.cut else ():
                    stands = await self.status(task_id)
                    await until(functools.partial(one.knows_of, task_id, stands))

        if self.workers:
            self.run(look())

    @invariant()
    def nothing_that_runs_once_ran_twice(self) -> None:
        for mark, runs in self.doors.runs.items():
            assert len(runs) == len(set(runs)), (mark, runs)
            assert not mark.startswith("once") or len(runs) <= 1

    # The end.

    def teardown(self) -> None:
        try:
            if self.workers:
                self.run(self.all_end())
        finally:
            self.patch.undo()
            self.folder.cleanup()
            self.loop.close()

    async def all_end(self) -> None:
        await self.back()
        for talk in self.talks:
            if not talk.over and talk.home.alive:
                self.doors.order(talk.mark).put_nowait("end")
        await self.end_tasks()
        for session, (who, _) in self.sessions.items():
            exchange = Exchange(self.workers[0], "DELETE", who, mcp_session_id=session)
            await exchange.answer()
            assert exchange.status == 204
        for one in self.listeners:
            one.exchange.hang_up()
        for talk in self.talks:
            talk.exchange.hang_up()
        await settle(100)
        await self.level()
        for worker in self.workers:
            await worker.stop()
        await self.store.close()

    async def end_tasks(self) -> None:
        """Whatever may be run again has not been lost."""
        for job in self.jobs.values():
            self.doors.gate(job.mark).set()
        for gate in self.doors.gates.values():
            gate.set()
        async with asyncio.timeout(60):
            while True:
                await self.store.run_out()
                for worker in self.workers:
                    await worker.run(worker.runtime.tasks.leases.claim())
                await settle()
                going = [one for one in self.jobs if await self.status(one) not in TERMINAL]
                if not going:
                    break
                for task_id in going:
                    await (await self.act(0, self.jobs[task_id].who, "tasks/update", task_id)).answer()

    async def level(self) -> None:
        """Nothing is held any more, in the store and in the workers that live."""
        left = await self.store.left()
        leases = [one for one in left if one.startswith("leased ")]
        assert not leases, leases
        assert not [one for one in left if one.startswith(("lock:", "claim:lock:"))], left
        if not self.doubt:
            assert not [one for one in left if one.startswith(("session", "stream:"))], left
        for worker in self.workers:
            runtime, services = worker.runtime, worker._services
            assert not len(runtime.listeners), list(runtime.listeners)
            assert not runtime.listeners._index
            assert not runtime.listeners._limiter.holders
            assert not runtime.tasks._running
            assert not runtime.tasks._limiter.holders
            assert not runtime.calls._running
            assert not runtime.questions._open
            assert not services.events._followers
            assert not services.pipeline._limits.calls.holders
            assert not len(services.pipeline._supervisors)


class OverMemory(Lives):
    """Over one memory, whose clock is turned."""

    def make_store(self) -> Store:
        return Memory()

    async def level(self) -> None:
        await super().level()
        assert isinstance(self.store, Memory)
        self.store.clock.now += 90_000
        assert await self.store.left() == []


class OverRedis(Lives):
    """Over a real Redis."""

    url: ClassVar[str]

    def make_store(self) -> Store:
        return Real(self.url, secrets.token_hex(8))

    async def level(self) -> None:
        await super().level()
        assert isinstance(self.store, Real)
        redis = self.store._first._redis
        for key in await self.store.left():
            assert await redis.ttl(self.store._first._key(key)) > 0, key


@pytest.fixture(scope="module")
async def redis_url(anyio_backend: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    async with running_redis(Path(tmp_path_factory.mktemp("redis"))) as address:
        yield address


def how(lives_in_ci: int) -> settings:
    return settings(
        max_examples=LIVES or lives_in_ci,
        stateful_step_count=40 if LIVES else 20,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


def test_lives_over_memory() -> None:
    run_state_machine_as_test(OverMemory, settings=how(6))


def test_lives_over_redis(redis_url: str) -> None:
    OverRedis.url = redis_url
    run_state_machine_as_test(OverRedis, settings=how(3))
