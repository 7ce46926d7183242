"""The life of a task: its races, its bounds, its workers that lapse, and who may end it."""

import asyncio
import contextlib
import time

import msgspec
import pytest
from msgspec import Raw

from mcp_server.authoring.errors import InvalidClientAnswer, ToolError
from mcp_server.authoring.interaction import InputRequired, Question, ResumableInteraction
from mcp_server.limits.concurrency import ConcurrencyLimiter, Place
from mcp_server.protocol.errors import RpcError
from mcp_server.protocol.types.content import TextContent
from mcp_server.protocol.types.inputs import InputRequest
from mcp_server.protocol.types.tools import CallToolResult
from mcp_server.sessions.tasks import TaskInteraction, Tasks
from mcp_server.sessions.tasks.record import GRACE_S, TaskRecord
from mcp_server.sessions.tasks.registry import STOPPED
from mcp_server.sessions.tasks.run import MAX_ASKED, MayHaveActed, Run
from mcp_server.store.backend import StoreUnavailable
from mcp_server.store.events import EventBus
from mcp_server.store.jobs.queue import Move
from mcp_server.store.memory import InMemoryBackend
from tests.kit.backends import Clock, Workers, settle, until
from tests.kit.tasks import ALICE, BOB, NEEDED, QUESTION, SOON, Handlers, Work, begun


class Slow(InMemoryBackend):
    """A store whose writes of tasks wait for a gate, the large ones at least."""

    def __init__(self, waits_from: int = 0) -> None:
        super().__init__()
        self.open = asyncio.Event()
        self.open.set()
        write = self.jobs.write

        async def waits(move: Move) -> bool:
            if len(move.record) >= waits_from:
                await self.open.wait()
            return await write(move)

        self.jobs.write = waits  # type: ignore[method-assign]


async def start(tasks: Tasks, work: Run, who: str = ALICE, place: Place | None = None) -> str:
    """A task whose handler has begun."""
    task_id = (await tasks.start(begun(work, who, place=place))).task_id
    await settle()
    return task_id


async def found(tasks: Tasks, task_id: str, who: str = ALICE) -> TaskRecord:
    record = await tasks.find(task_id, who)
    assert record is not None
    return record


@pytest.mark.parametrize("size", [10, 50_000], ids=["small", "more than may be kept"])
@pytest.mark.parametrize("first", ["cancelled", "returned"])
async def test_of_a_cancellation_and_a_result_the_first_stands(size: int, first: str) -> None:
    backend = Slow()
    tasks, work = Tasks(EventBus(backend), 3600, 20_000), Work(size=size)
    record = await found(tasks, await start(tasks, work))
    backend.open.clear()
    cancelling = asyncio.create_task(tasks.cancel(record)) if first == "cancelled" else None
    await settle()  # it is being written
    work.gate.set()
    await settle()
    cancelling = cancelling or asyncio.create_task(tasks.cancel(record))
    await settle()
    backend.open.set()
    await cancelling
    await settle()
    ended = await found(tasks, record.id)
    returned = "failed" if size > 20_000 else "completed"
    told = "cancelled" if first == "cancelled" else returned
    assert ended.status == told
    assert (b'"result"' in msgspec.json.encode(ended.wire())) is (told == "completed")
    await tasks.stop()


async def test_one_slow_write_holds_up_its_own_task_alone() -> None:
    backend = Slow(2_000)
    tasks = Tasks(EventBus(backend), 3600)
    slow, quick = Work(size=5_000), Work()
    stuck, free = await start(tasks, slow), await start(tasks, quick)
    backend.open.clear()
    slow.gate.set()
    await settle()  # its result is being written
    await tasks.cancel(await found(tasks, free))
    assert (await found(tasks, free)).status == "cancelled"
    assert (await found(tasks, stuck)).status == "working"
    backend.open.set()
    await settle()
    assert (await found(tasks, stuck)).status == "completed"


async def test_a_record_keeps_the_scopes_that_its_tool_needed() -> None:
    tasks = Tasks(EventBus(InMemoryBackend()), 3600)
    task_id = await start(tasks, Work())
    record = await found(tasks, task_id)
    assert (record.tool, record.needed) == ("tool", NEEDED)
    assert await tasks.find(task_id, BOB) is None
    await tasks.stop()


async def test_one_principal_runs_so_many_at_once() -> None:
    tasks = Tasks(EventBus(InMemoryBackend()), 3600, max_running=2)
    works = [Work(), Work()]
    ids = [await start(tasks, work) for work in works]
    with pytest.raises(ToolError, match="Too many"):
        await start(tasks, Work())
    other = await start(tasks, Work(), BOB)
    works[0].gate.set()
    await settle()
    assert (await found(tasks, ids[0])).status == "completed"
    await start(tasks, Work())
    assert (await found(tasks, other, BOB)).status == "working"
    await tasks.stop()
    tasks.restart()
    await start(tasks, Work())
    await tasks.stop()


@pytest.mark.parametrize("how", ["returned", "asks", "cancelled", "handed back", "stopped"])
async def test_a_task_keeps_its_callers_slots_to_the_end_of_its_run_and_gives_them_back_once(how: str) -> None:
    workers = Workers()
    backend = workers.join() if how == "handed back" else InMemoryBackend()
    tasks, calls, work = Tasks(EventBus(backend), 3600), ConcurrencyLimiter(1), Work(asks=how == "asks")
    assert calls.acquire(ALICE)
    place, given_back = Place(calls, ALICE), list[str]()
    place.on_released = lambda: given_back.append(how)  # the limits that are counted with other workers
    task_id = await start(tasks, work, place=place)
    place.release()  # the call itself is answered
    assert given_back == ([how] if how == "asks" else [])
    assert calls.has_room(ALICE) is (how == "asks")
    assert calls.has_room(BOB)
    if how == "returned":
        work.gate.set()
    elif how == "cancelled":
        await tasks.cancel(await found(tasks, task_id))
    elif how == "handed back":
        await workers.join().jobs.claim(SOON.lease_s, 1)
        await tasks.hand_back()
    elif how == "stopped":
        await tasks.stop()
    await settle()
    assert calls.has_room(ALICE)
    await tasks.stop()
    assert given_back == [how]


@pytest.mark.parametrize("in_call", [False, True])
async def test_a_call_that_becomes_no_task_gives_its_slot_back(*, in_call: bool) -> None:
    """And nobody is told that nothing has run of a handler that has begun in the call, to ask there."""
    backend = Workers().join()
    tasks, calls = Tasks(EventBus(backend), 3600), ConcurrencyLimiter(1)
    assert calls.acquire(ALICE)
    place = Place(calls, ALICE)
    running: list[bool] = []

    async def away(_: TaskInteraction) -> CallToolResult:
        running.append(True)
        backend.away = True
        await asyncio.Event().wait()
        raise AssertionError

    def job(_: str) -> bytes:
        backend.away = True
        return b"job"

    first = ResumableInteraction({}, {}) if in_call else None
    begins = msgspec.structs.replace(begun(away, place=place, first=first), job=job)
    with pytest.raises(MayHaveActed if in_call else StoreUnavailable):
        await tasks.start(begins)
    place.release()
    await settle()
    assert running == [True] * in_call
    assert calls.has_room(ALICE)
    assert not tasks.running


class Asks:
    """A handler that asks two things and returns what it was told."""

    def __init__(self) -> None:
        self.read: list[bytes] = []

    async def __call__(self, running: TaskInteraction) -> CallToolResult:
        def read(raw: Raw) -> str:
            self.read.append(bytes(raw))
            if bytes(raw) == b"0":
                raise InvalidClientAnswer("odd")
            return bytes(raw).decode()

        question = Question(InputRequest("elicitation/create", {}), {}, read)
        await running.send(b"nobody hears")
        await running.pause(1)
        return CallToolResult([], structured_content=dict(await running.ask({"a": question, "b": question})))


async def test_only_what_was_answered_badly_is_asked_again_under_a_new_key() -> None:
    handlers, work = Handlers(), Asks()
    tasks = handlers.of(EventBus(InMemoryBackend()), 3600)
    task_id = (await tasks.start(handlers.begun(work))).task_id
    for answers, left in (
        ({"a": Raw(b"1"), "unknown": Raw(b"0")}, {"b"}),
        ({"b": Raw(b"0"), "a": Raw(b"2")}, {"b-2"}),
        ({"b": Raw(b"3")}, {"b-2"}),
        ({"b-2": Raw(b"4")}, set()),
    ):
        await settle()
        assert not tasks.running  # no worker waits for a person
        await tasks.answer(await found(tasks, task_id), answers)
        await settle()
        assert (await found(tasks, task_id)).questions.keys() == left
    ended = await found(tasks, task_id)
    assert ended.status == "completed"
    assert b'{"a":"1","b":"4"}' in msgspec.json.encode(ended.wire())
    assert work.read == [b"1", b"0", b"1", b"4"]


async def test_a_client_that_never_answers_well_is_asked_so_often() -> None:
    handlers = Handlers()
    tasks = handlers.of(EventBus(InMemoryBackend()), 3600)
    task_id = (await tasks.start(handlers.begun(Asks()))).task_id
    times = 0
    while True:
        await settle()
        record = await found(tasks, task_id)
        if record.over:
            break
        times += 1
        await tasks.answer(record, dict.fromkeys(record.questions, Raw(b"0")))
    assert times == MAX_ASKED
    assert record.status == "failed"


async def test_a_handler_that_is_asked_too_often_may_go_on_and_finds_its_notes() -> None:
    handlers, seen = Handlers(), list[object]()

    async def work(running: TaskInteraction) -> CallToolResult:
        seen.append(running.notes.get("rounds"))
        running.notes["rounds"] = len(seen)

        def read(raw: Raw) -> Raw:
            if bytes(raw) == b"0":
                raise InvalidClientAnswer("odd")
            return raw

        with contextlib.suppress(InvalidClientAnswer):
            await running.ask({"first": Question(InputRequest("elicitation/create", {}), {}, read)})
        await running.ask({"second": QUESTION})
        return CallToolResult([])

    tasks = handlers.of(EventBus(InMemoryBackend()), 3600)
    task_id = (await tasks.start(handlers.begun(work))).task_id
    for _ in range(MAX_ASKED):
        await settle()
        record = await found(tasks, task_id)
        await tasks.answer(record, dict.fromkeys(record.questions, Raw(b"0")))
    await settle()
    record = await found(tasks, task_id)
    assert record.questions.keys() == {"second"}
    await tasks.answer(record, {"second": Raw(b"{}")})
    await settle()
    assert (await found(tasks, task_id)).status == "completed"
    assert seen == [None, 1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("raises", "Internal error"),
        ("times out", "The task took too long"),
        ("not encodable", "Internal error"),
        ("refuses", "crashed"),
        ("too large", "No room for the result"),
        ("asks too much", "Too much is kept of your tasks; it is forgotten when their time is over."),
    ],
)
async def test_how_a_task_fails_is_always_told(how: str, message: str) -> None:
    ttl_s = 0.001 if how == "times out" else 3600
    tasks = Tasks(EventBus(InMemoryBackend()), ttl_s, 5_000)

    async def work(running: TaskInteraction) -> CallToolResult | RpcError:
        if how == "raises":
            raise RuntimeError("a secret of ours")
        if how == "times out":
            await asyncio.Event().wait()
        if how == "asks too much":
            await running.ask({"x" * 10_000: QUESTION})
        if how == "refuses":
            return RpcError(code=-31500, message="crashed", data={"why": 1})
        return CallToolResult([TextContent("\ud800" if how == "not encodable" else "x" * 10_000)])

    task_id = await start(tasks, work)

    async def over() -> bool:
        return (await found(tasks, task_id)).over

    await until(over)
    record = await found(tasks, task_id)
    assert record.error is not None
    assert (record.status, record.error["message"]) == ("failed", message)
    assert record.error.get("data") == ({"why": 1} if how == "refuses" else None)


async def test_what_is_asked_first_is_asked_in_the_call_and_leaves_no_task() -> None:
    tasks = Tasks(EventBus(InMemoryBackend()), 3600)

    async def work(running: TaskInteraction) -> CallToolResult:
        await running.ask({"q": QUESTION})
        raise AssertionError

    with pytest.raises(InputRequired):
        await tasks.start(begun(work, first=ResumableInteraction({}, {})))
    await settle()
    assert not tasks.running
    assert not tasks._limiter.holders


async def test_no_task_begins_where_too_much_is_kept() -> None:
    tasks = Tasks(EventBus(InMemoryBackend()), 3600, 1_500)
    first = await start(tasks, Work())
    with pytest.raises(ToolError, match="Too much is kept"):
        await start(tasks, Work())
    await start(tasks, Work(), BOB)
    assert (await found(tasks, first)).status == "working"
    await tasks.stop()
    assert (await found(tasks, first)).error == {"code": -32603, "message": STOPPED}


@pytest.mark.parametrize("by_s", [-3_600, 86_400])
async def test_a_wall_clock_that_is_set_ends_no_task(by_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, now = Clock(), time.time()
    workers, handlers = Workers(clock), Handlers()
    here, there = workers.join(), workers.join()
    tasks, others, work = handlers.of(EventBus(here), 100), handlers.of(EventBus(there), 100), Work()
    ends = (await tasks.start(handlers.begun(work))).task_id
    asks = (await tasks.start(handlers.begun(Work(asks=True)))).task_id
    monkeypatch.setattr(time, "time", lambda: now + by_s)
    work.gate.set()
    await settle()
    clock.now = 100 + GRACE_S - 1
    assert (await found(others, ends)).status == "completed"
    assert (await found(others, asks)).status == "input_required"
    clock.now = 100 + GRACE_S + 1
    assert await others.find(ends, ALICE) is None
    assert await others.find(asks, ALICE) is None
