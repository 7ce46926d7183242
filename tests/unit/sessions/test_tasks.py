"""The life of a task: its races, its bounds, its workers that lapse, and who may end it."""

import asyncio
import contextlib
import time
from typing import Any, TypeVar

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
from mcp_server.sessions.tasks.registry import REVOKED
from mcp_server.sessions.tasks.run import MAX_ASKED
from mcp_server.store.backend import StoreUnavailable
from mcp_server.store.events import EventBus
from mcp_server.store.memory import InMemoryBackend
from mcp_server.store.revocations import EVER, Revocation, RevocationList
from tests.kit.backends import Clock, Workers, settle, until
from tests.kit.principals import principal

ALICE = "https://issuer.example\nalice"
BOB = "https://issuer.example\nbob"
NEEDED = frozenset({"mcp:read"})
QUESTION = Question(
    request=InputRequest(method="elicitation/create", params={"message": "Sure?"}), needs={}, read=lambda raw: raw
)
Found = TypeVar("Found")


class Work:
    """A handler that waits for its gate, and asks first where it is told to."""

    def __init__(self, *, asks: bool = False, size: int = 10) -> None:
        self.gate, self.asks, self.size = asyncio.Event(), asks, size
        self.cancelled = False

    async def __call__(self, running: TaskInteraction) -> CallToolResult:
        try:
            if self.asks:
                await running.ask({"q": QUESTION})
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return CallToolResult(content=[TextContent(text="x" * self.size)])


class Slow(InMemoryBackend):
    """A store whose writes of tasks wait for a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.open = asyncio.Event()
        self.open.set()

    async def keep(self, key: str, value: bytes, ttl_s: float, **how: Any) -> bool:
        await self.open.wait()
        return await super().keep(key, value, ttl_s, **how)


async def start(tasks: Tasks, work: Work, who: str = ALICE, place: Place | None = None) -> str:
    return (await tasks.start(who, "tool", work, None, needed=NEEDED, place=place)).task_id


async def found(tasks: Tasks, task_id: str, who: str = ALICE) -> TaskRecord:
    record = await tasks.find(task_id, who)
    assert record is not None
    return record


@pytest.mark.parametrize("size", [10, 50_000], ids=["small", "more than may be kept"])
async def test_a_task_that_is_cancelled_while_its_handler_returns_has_no_result(size: int) -> None:
    backend = Slow()
    tasks, work = Tasks(EventBus(backend), 3600, 20_000), Work(asks=True, size=size)
    task_id = await start(tasks, work)
    await settle()
    record = await found(tasks, task_id)
    backend.open.clear()
    answering = asyncio.create_task(tasks.answer(record, {"q": Raw(b"{}")}))
    await settle()  # the answer is being written: one write of a task after the other
    cancelling = asyncio.create_task(tasks.cancel(record))
    await settle()
    work.gate.set()
    await settle()
    backend.open.set()
    await asyncio.gather(answering, cancelling)
    await settle()
    ended = await found(tasks, task_id)
    assert ended.status == "cancelled"
    assert b'"result"' not in msgspec.json.encode(ended.wire())
    await tasks.stop()


async def test_one_slow_write_holds_up_its_own_task_alone() -> None:
    backend = Slow()
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


async def test_a_question_that_its_handler_gives_up_is_asked_no_more() -> None:
    tasks, gate = Tasks(EventBus(InMemoryBackend()), 3600), asyncio.Event()
    limit = asyncio.timeout(None)

    async def work(running: TaskInteraction) -> CallToolResult:
        with contextlib.suppress(TimeoutError):
            async with limit:
                await running.ask({"q": QUESTION})
        await gate.wait()
        return CallToolResult(content=[])

    task_id = (await tasks.start(ALICE, "work", work, None, needed=NEEDED)).task_id
    await settle()
    assert (await found(tasks, task_id)).status == "input_required"
    limit.reschedule(0)
    await settle()
    given_up = await found(tasks, task_id)
    assert (given_up.status, given_up.questions) == ("working", {})
    gate.set()
    await tasks.stop()


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


@pytest.mark.parametrize("how", ["returned", "cancelled", "stopped"])
async def test_a_task_keeps_its_callers_slot_to_its_end(how: str) -> None:
    tasks, calls, work = Tasks(EventBus(InMemoryBackend()), 3600), ConcurrencyLimiter(1), Work()
    assert calls.acquire(ALICE)
    place = Place(calls, ALICE)
    task_id = await start(tasks, work, place=place)
    place.release()  # the call itself is answered
    assert not calls.has_room(ALICE)
    assert calls.has_room(BOB)
    if how == "returned":
        work.gate.set()
    elif how == "cancelled":
        await tasks.cancel(await found(tasks, task_id))
    else:
        await tasks.stop()
    await settle()
    assert calls.has_room(ALICE)


async def test_a_call_that_becomes_no_task_gives_its_slot_back() -> None:
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

    with pytest.raises(StoreUnavailable):
        await tasks.start(ALICE, "tool", away, None, needed=NEEDED, place=place)
    place.release()
    await settle()
    assert running
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
    tasks, work = Tasks(EventBus(InMemoryBackend()), 3600), Asks()
    task_id = (await tasks.start(ALICE, "tool", work, None, needed=NEEDED)).task_id
    for answers, left in (
        ({"a": Raw(b"1"), "unknown": Raw(b"0")}, {"b"}),
        ({"b": Raw(b"0"), "a": Raw(b"2")}, {"b-2"}),
        ({"b": Raw(b"3")}, {"b-2"}),
        ({"b-2": Raw(b"4")}, set()),
    ):
        await settle()
        await tasks.answer(await found(tasks, task_id), answers)
        await settle()
        assert (await found(tasks, task_id)).questions.keys() == left
    ended = await found(tasks, task_id)
    assert ended.status == "completed"
    assert b'{"a":"1","b":"4"}' in msgspec.json.encode(ended.wire())
    assert work.read == [b"1", b"0", b"4"]


async def test_a_client_that_never_answers_well_is_asked_so_often() -> None:
    tasks = Tasks(EventBus(InMemoryBackend()), 3600)
    task_id = (await tasks.start(ALICE, "tool", Asks(), None, needed=NEEDED)).task_id
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

    task_id = (await tasks.start(ALICE, "tool", work, None, needed=NEEDED)).task_id

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
        await tasks.start(ALICE, "tool", work, ResumableInteraction({}, {}), needed=NEEDED)
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
    assert (await found(tasks, first)).error == {"code": -32603, "message": "The server was stopped"}


@pytest.mark.parametrize("by_s", [-3_600, 86_400])
async def test_a_wall_clock_that_is_set_ends_no_task(by_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, now = Clock(), time.time()
    workers = Workers(clock)
    here, there = workers.join(), workers.join()
    tasks, others, work = Tasks(EventBus(here), 100), Tasks(EventBus(there), 100), Work()
    ends, given_up = await start(tasks, work), await start(tasks, Work())
    monkeypatch.setattr(time, "time", lambda: now + by_s)
    work.gate.set()
    await settle()
    here.lapsed = True
    assert (await found(others, given_up)).status == "failed"
    clock.now = GRACE_S - 1
    assert (await found(others, ends)).status == "completed"
    assert (await found(others, given_up)).status == "failed"
    clock.now = 100 + GRACE_S + 1
    assert await others.find(ends, ALICE) is None
    assert await others.find(given_up, ALICE) is None


async def test_a_revoked_token_ends_what_it_began_and_nobody_elses() -> None:
    revoked = Revocation(issuer="https://issuer", kind="sub", name="alice", before=10, until=EVER)
    bus, works = EventBus(InMemoryBackend()), {name: Work() for name in ("alice", "bob", "nobody")}
    tasks = Tasks(bus, 60)
    begun = {}
    for name, work in works.items():
        who = None if name == "nobody" else principal(subject=name)
        begun[name] = await tasks.start(name, "t", work, None, needed=NEEDED, principal=who)
    assert tasks.revoked(revoked) == 1
    await settle()
    found = {name: await tasks.find(begun[name].task_id, name) for name in works}
    assert {name: one and one.status for name, one in found.items()} == {
        "alice": "failed", "bob": "working", "nobody": "working",
    }  # fmt: skip
    assert found["alice"] is not None
    assert found["alice"].error == {"code": -32603, "message": REVOKED}
    assert (works["alice"].cancelled, works["bob"].cancelled) == (True, False)
    await tasks.stop()


async def test_a_token_that_is_revoked_while_its_task_begins_ends_it() -> None:
    revoked = Revocation(issuer="https://issuer", kind="sub", name="alice", before=10, until=EVER)
    known = RevocationList()
    backend, work = Slow(), Work()
    tasks = Tasks(EventBus(backend), 60, over=known.over)
    backend.open.clear()
    starting = asyncio.create_task(
        tasks.start(ALICE, "t", work, None, needed=NEEDED, principal=principal(subject="alice"))
    )
    await settle()
    assert known.add(revoked)
    tasks.revoked(revoked)
    await settle()
    backend.open.set()
    task = await starting
    found = await tasks.find(task.task_id, ALICE)
    assert (found and found.status, work.cancelled or found is not None) == ("failed", True)
    await tasks.stop()
