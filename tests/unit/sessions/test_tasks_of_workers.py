"""Tasks that several workers know of: leases that are renewed, lost, handed back and claimed, and who may write."""

import asyncio
import time
from typing import Any

import pytest
from msgspec import Raw

from mcp_server.authoring.interaction import InputRequired, ResumableInteraction
from mcp_server.observe.log import logger
from mcp_server.protocol.errors import RpcError
from mcp_server.protocol.types.tools import CallToolResult
from mcp_server.sessions.tasks import TaskInteraction
from mcp_server.sessions.tasks.registry import LOST, MAX_LOST, STOPPED
from mcp_server.store.backend import StoreUnavailable, VersionConflict
from mcp_server.store.events import TaskChanged
from mcp_server.store.jobs.queue import Move
from tests.kit.backends import settle, until
from tests.kit.tasks import ALICE, ANSWER, BOB, QUESTION, SOON, Pair, Work


async def test_a_task_whose_worker_is_lost_runs_again_and_its_late_end_counts_no_more() -> None:
    pair, work = await Pair().begin(), Work()
    task_id = await pair.start(work)
    await pair.takes_over()
    await settle()
    taken = await pair.shows(task_id)
    assert (taken.status, taken.attempt, taken.lost, taken.worker) == ("working", 2, 1, "w1")
    assert work.attempts == [1, 2]
    await pair.here.cancel(taken)  # whoever is asked: both runs end, and one of them alone has written
    await settle()
    assert (await pair.shows(task_id)).status == "cancelled"
    assert not pair.here.running | pair.there.running
    assert pair.workers.memory._leases == {}
    await pair.stop()


async def test_both_runs_of_a_stalled_worker_end_and_the_first_end_stands() -> None:
    pair, work = await Pair().begin(), Work()
    task_id = await pair.start(work)
    await pair.takes_over()
    await settle()
    work.gate.set()
    await settle()
    ended = await pair.shows(task_id)
    assert (ended.status, ended.attempt) == ("completed", 2)  # the late worker's version was another
    assert not pair.here.running | pair.there.running
    await pair.stop()


@pytest.mark.parametrize("retry", [False, True])
async def test_who_may_not_run_again_or_was_lost_too_often_has_failed(*, retry: bool) -> None:
    pair, work = await Pair().begin(), Work()
    pair.handlers.retry = retry
    task_id = await pair.start(work)
    for number in range(MAX_LOST if retry else 1):
        assert (await pair.shows(task_id)).status == "working"
        pair.clock.now += SOON.lease_s
        tasks = pair.here if number % 2 else pair.there
        for one in (pair.here, pair.there):
            one._running.pop(task_id, None)  # as of a process that is gone
        await tasks.leases.claim()
        await settle()
    record = await pair.shows(task_id)
    assert (record.status, record.error) == ("failed", {"code": -32603, "message": LOST})
    assert pair.handlers.told == [(task_id, "task_lost")]
    assert work.attempts == ([1, 2, 3] if retry else [1])
    await pair.stop()


async def test_a_lease_that_is_renewed_is_not_claimed_and_one_that_is_lost_ends_the_handler() -> None:
    pair, work = await Pair().begin(), Work()
    task_id = await pair.start(work)
    pair.clock.now += SOON.renew_s
    assert await pair.here.leases.renew()
    pair.clock.now += SOON.lease_s - 1
    assert not await pair.there.leases.claim()
    assert work.attempts == [1]
    pair.workers.memory._leases[task_id] = "w1", pair.clock.now
    assert await pair.here.leases.renew()
    await settle()
    assert work.cancelled
    assert not pair.here.running
    await pair.stop()


async def test_a_store_that_is_away_for_longer_than_the_lease_ends_the_handler_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pair, work, began = await Pair().begin(), Work(), time.monotonic()
    task_id = await pair.start(work)
    pair.backends[0].away = True
    assert not await pair.here.leases.renew()
    assert pair.here.running  # another worker cannot have it yet
    monkeypatch.setattr(time, "monotonic", lambda: began + SOON.lease_s + 1)
    assert not await pair.here.leases.renew()
    await settle()
    assert work.cancelled
    assert not pair.here.running
    monkeypatch.undo()
    pair.backends[0].away = False
    await pair.takes_over()
    work.gate.set()
    await settle()
    assert (await pair.shows(task_id)).status == "completed"
    await pair.stop()


async def test_a_result_is_written_once_the_store_is_back() -> None:
    pair, work = await Pair().begin(), Work()
    task_id = await pair.start(work)
    pair.backends[0].away = True
    work.gate.set()
    await settle()
    assert (await pair.shows(task_id)).status == "working"
    pair.backends[0].away = False
    await settle()
    assert (await pair.shows(task_id)).status == "completed"
    await pair.stop()


async def test_a_write_whose_answer_was_lost_is_not_somebody_elses() -> None:
    pair, work = await Pair().begin(), Work()
    task_id = await pair.start(work)
    jobs, lost = pair.backends[0].jobs, list[str]()
    write = jobs.write

    async def loses(move: Move) -> bool:
        done = await write(move)
        lost.append(move.id)
        if len(lost) == 1:
            raise StoreUnavailable("written, and not answered")
        return done

    jobs.write = loses  # type: ignore[method-assign]
    work.gate.set()
    await settle()
    assert lost == [task_id, task_id]
    assert (await pair.shows(task_id)).status == "completed"
    await pair.stop()


async def test_a_drain_hands_back_what_may_run_again_and_the_rest_goes_on() -> None:
    pair, again, once = await Pair().begin(), Work(), Work()
    task_id = await pair.start(again)
    pair.handlers.retry = False
    other = await pair.start(once)
    pair.handlers.retry = True
    await pair.there.leases.claim()
    await pair.here.hand_back()
    assert again.cancelled
    assert list(pair.here.running) == [other]
    await pair.here.leases.claim()  # who drains takes nothing
    assert (await pair.shows(task_id)).worker == ""
    await pair.there.leases.claim()
    await settle()
    taken = await pair.shows(task_id)
    assert (taken.worker, taken.attempt, taken.lost) == ("w1", 2, 0)
    await pair.here.stop()
    failed = await pair.shows(other)
    assert (failed.status, failed.error) == ("failed", {"code": -32603, "message": STOPPED})
    await pair.there.stop()  # nobody is left: it waits for whoever comes
    assert (await pair.shows(task_id)).status == "working"
    await pair.stop()


async def test_a_freed_task_wakes_the_others_at_once() -> None:
    pair, work = await Pair().begin(), Work()
    pair.there.begin()
    await settle()
    task_id = await pair.start(work)
    await pair.here.hand_back()
    await settle()
    assert list(pair.there.running) == [task_id]
    await pair.stop()


async def test_another_worker_answers_by_its_authorization_and_runs_on() -> None:
    pair, work, other = await Pair().begin(), Work(asks=True), Work()
    task_id = await pair.start(work)
    await settle()
    record = await pair.shows(task_id)
    assert (record.status, list(record.questions), record.worker) == ("input_required", ["q"], "")
    pair.clock.now += 10 * SOON.lease_s  # a person takes their time: nobody holds a lease, nobody takes it over
    await pair.here.leases.claim()
    await pair.there.answer(record, {"other": Raw(b"{}")})
    assert (await pair.shows(task_id)).status == "input_required"
    await pair.there.answer(record, ANSWER, lambda task_id, job: pair.handlers.keep(other))
    await pair.there.answer(record, ANSWER)  # said twice, taken once
    assert list(pair.there.running) == [task_id]
    other.gate.set()
    await settle()
    assert (await pair.shows(task_id)).status == "completed"
    assert (work.attempts, other.attempts) == ([1], [2])
    await pair.stop()


async def test_an_answer_that_finds_no_room_here_has_the_task_run_elsewhere() -> None:
    pair, work, busy = await Pair(max_running=1).begin(), Work(asks=True), Work()
    task_id = await pair.start(work)
    await settle()
    await pair.start(busy)
    await pair.here.answer(await pair.shows(task_id), ANSWER)
    assert (await pair.shows(task_id)).worker == ""
    await pair.here.leases.claim()  # still no room
    assert work.attempts == [1]
    pair.clock.now += SOON.lease_s
    await pair.here.leases.renew()
    await pair.there.leases.claim()
    work.gate.set()
    await settle()
    ended = await pair.shows(task_id)
    assert (ended.status, ended.lost) == ("completed", 0)
    await pair.stop()


async def test_a_tool_that_is_not_here_is_left_to_others_and_an_authorization_that_is_over_ends_the_task() -> None:
    pair, work = await Pair().begin(), Work()
    task_id = await pair.start(work)
    pair.handlers.retry = None
    await pair.takes_over()
    assert (await pair.shows(task_id)).status == "working"
    pair.handlers.retry, pair.handlers.refuses = True, RpcError(code=-31001, message="authorization expired")
    await pair.takes_over()
    await settle()
    ended = await pair.shows(task_id)
    assert (ended.status, ended.error) == ("failed", {"code": -31001, "message": "authorization expired"})
    assert not pair.there._limiter.holders
    await pair.stop()


@pytest.mark.parametrize("how", ["over", "gone", "asks"])
async def test_what_there_is_nothing_to_run_of_is_claimed_for_nothing(how: str) -> None:
    pair, work = await Pair().begin(), Work(asks=how == "asks")
    task_id = await pair.start(work)
    await settle()
    if how == "over":
        await pair.there.cancel(await pair.shows(task_id))
    if how == "gone":
        pair.backends[0]._room("task:").drop(f"task:{task_id}")
    pair.workers.memory._leases[task_id] = "w0", -1000.0
    await pair.there._take(task_id)
    assert task_id not in pair.there.running
    assert work.attempts == [1]
    if how == "asks":
        await pair.there.answer(await pair.shows(task_id), ANSWER)
        assert list(pair.there.running) == [task_id]
    await pair.there.cancel(await pair.shows(task_id)) if how == "asks" else None
    await pair.stop()


async def test_a_task_that_cannot_be_read_keeps_no_other_from_being_taken_over() -> None:
    pair, work = await Pair().begin(), Work()
    ids = [await pair.start(Work()), await pair.start(work)]
    pair.backends[0]._room("task:").set(f"task:{ids[0]}", b"x" * 16 + b"of another version", 50)
    await pair.takes_over()
    assert list(pair.there.running) == [ids[1]]
    await pair.stop()


@pytest.mark.parametrize("what", ["answer", "cancel"])
async def test_who_is_overtaken_all_the_time_is_told(what: str) -> None:
    pair = await Pair().begin()
    task_id = await pair.start(Work(asks=True))
    await settle()
    record = await pair.shows(task_id)

    async def overtaken(move: Move) -> bool:
        raise VersionConflict(move.id)

    pair.backends[1].jobs.write = overtaken  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        await (pair.there.cancel(record) if what == "cancel" else pair.there.answer(record, ANSWER))
    pair.backends[0]._room("task:").drop(f"task:{task_id}")
    await (pair.there.cancel(record) if what == "cancel" else pair.there.answer(record, ANSWER))
    assert await pair.here.find(task_id, ALICE) is None
    assert await pair.here.find(task_id, BOB) is None
    await pair.stop()


async def test_a_handler_that_swallows_its_end_keeps_its_lease() -> None:
    pair, go = await Pair().begin(), asyncio.Event()

    async def stubborn(_: TaskInteraction) -> CallToolResult:
        while not go.is_set():
            try:
                await go.wait()
            except asyncio.CancelledError:
                continue
        return CallToolResult([])

    pair.here._stop_s = 0.01
    task_id = await pair.start(stubborn)
    await pair.there.leases.claim()
    await pair.here.hand_back()
    assert await pair.there.leases.claim() is False
    assert (await pair.shows(task_id)).worker == "w0"
    go.set()
    await settle()
    assert (await pair.shows(task_id)).status == "completed"  # it has ended after all, and nobody else ran it
    await pair.stop()


async def test_a_question_of_the_call_itself_leaves_nothing_and_a_late_one_is_the_tasks() -> None:
    pair = await Pair().begin()

    async def later(running: TaskInteraction) -> CallToolResult:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await running.ask({"q": QUESTION})
        return CallToolResult([])

    with pytest.raises(InputRequired):
        await pair.here.start(pair.handlers.begun(Work(asks=True), first=ResumableInteraction({}, {})))
    created = await pair.here.start(pair.handlers.begun(later, first=ResumableInteraction({}, {})))
    await settle()
    assert (await pair.shows(created.task_id)).status == "input_required"
    assert not pair.here.running
    await pair.stop()


@pytest.mark.parametrize("persistence", ["lost", "unknown", "kept", "away"])
async def test_a_start_says_whether_tasks_survive_the_store(persistence: Any) -> None:
    pair, log = await Pair().begin(), list[str]()
    sink = logger.add(log.append)

    async def told() -> Any:
        if persistence == "away":
            raise StoreUnavailable("away")
        return persistence

    pair.backends[0].jobs.persistence = told  # type: ignore[method-assign]
    pair.here.begin()
    await settle()
    assert any("do not survive" in line for line in log) is (persistence == "lost")
    assert any("is unknown" in line for line in log) is (persistence in ("unknown", "away"))
    logger.remove(sink)
    await pair.stop()


async def test_leases_are_renewed_and_claimed_in_the_background() -> None:
    pair, work = await Pair().begin(), Work()
    quick = type(SOON)(lease_s=0.03, retry_s=0.001)
    for tasks in (pair.here, pair.there):
        tasks.leases.times = quick
        tasks.begin(offered=False)
    task_id = await pair.start(work)
    pair.backends[0].away = True
    pair.clock.now += 1

    async def taken() -> bool:
        return task_id in pair.there.running

    await until(taken)
    pair.backends[1].away = True

    async def lost() -> bool:
        return not pair.there.running

    await until(lost)
    await pair.stop()


async def test_who_looks_after_a_task_does_not_cut_off_its_own_end() -> None:
    """An event says that it has changed, and what is read then is the end that is being written: nobody was told."""
    pair, work, asked, written = await Pair().begin(), Work(), asyncio.Event(), asyncio.Event()
    task_id, told = await pair.start(work), list[str]()
    backend, taken = pair.backends[0], asyncio.Event()
    read, write = backend.get, backend.jobs.write

    async def reads(key: str, renew_s: float | None = None) -> bytes | None:
        asked.set()
        await written.wait()
        return await read(key, renew_s)

    async def writes(move: Move) -> bool:
        done = await write(move)
        written.set()
        await taken.wait()  # its answer is on the way
        return done

    pair.buses[0].subscribe(TaskChanged, lambda event: told.append(event.task_id))
    backend.get, backend.jobs.write = reads, writes  # type: ignore[method-assign]
    pair.buses[0].deliver(TaskChanged(task_id))
    await asked.wait()
    work.gate.set()
    await settle()
    taken.set()
    await settle()
    assert (await pair.shows(task_id)).status == "completed"
    assert told == [task_id, task_id]
    await pair.stop()
