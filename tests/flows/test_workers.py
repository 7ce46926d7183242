"""Several workers on one Redis: what one knows, the others know; and Redis may go away for a while."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest
from msgspec import UNSET, Raw

from mcp_server import McpServer
from mcp_server.authoring.errors import ToolError
from mcp_server.authoring.interaction import Question
from mcp_server.engine.dispatch import Dispatcher, EngineConfig
from mcp_server.protocol.types.inputs import InputRequest
from mcp_server.protocol.types.tools import CallToolResult
from mcp_server.sessions.session import MAX_PER_PRINCIPAL, Session, Sessions
from mcp_server.sessions.tasks import TaskInteraction
from mcp_server.store import backend as backend_module
from mcp_server.store.backend import OVERHEAD, StoreFull, StoreUnavailable, lock
from mcp_server.store.events import (
    Answered,
    Appended,
    Cancelled,
    Event,
    EventBus,
    ListChanged,
    ResourceUpdated,
    SessionEnded,
    StreamOpened,
    SubscriptionsChanged,
    TaskAnswered,
    TaskCancelled,
    TaskMoved,
)
from mcp_server.store.memory import InMemoryBackend
from mcp_server.web import redis as redis_module
from mcp_server.web.redis import OF_A_KIND, SLOT_S, UNBOUNDED, RedisBackend
from tests.kit import wire
from tests.kit.served import running_redis
from tests.kit.servers.conformance import server as fixture
from tests.kit.stack import free_port, running_stack

RESOURCE = "http://localhost/mcp"
EVENTS: list[Event] = [
    ListChanged("tools"),
    ResourceUpdated("a://b"),
    SubscriptionsChanged("s", ["a://b"]),
    StreamOpened("s", "t"),
    SessionEnded("s"),
    Cancelled("s", 5),
    Cancelled("s", "x"),
    Answered("s", "q", Raw(b'{"a":1}'), UNSET),
    Answered("s", "q", UNSET, Raw(b'{"code":1}')),
    Appended("stream"),
    TaskMoved("t", Raw(b"{}")),
    TaskAnswered("t", {"k": Raw(b"5")}),
    TaskCancelled("t"),
]


@pytest.fixture(scope="module")
async def url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    async with running_redis(Path(tmp_path_factory.mktemp("redis"))) as address:
        yield address


class Heard:
    """What a worker was told."""

    def __init__(self, bus: EventBus) -> None:
        self.events: list[Event] = []
        self.some = asyncio.Event()
        for kind in {type(event) for event in EVENTS}:
            bus.subscribe(kind, self._hear)

    def _hear(self, event: Event) -> None:
        self.events.append(event)
        self.some.set()

    async def count(self, number: int) -> None:
        async with asyncio.timeout(10):
            while len(self.events) < number:
                self.some.clear()
                await self.some.wait()


def plain(event: Event) -> str:
    """An event's fields as text: raw values are equal when their bytes are."""
    values = (getattr(event, name) for name in event.__struct_fields__)
    return (
        f"{type(event).__name__} {[bytes(v) if isinstance(v, Raw) else v for v in values if not isinstance(v, dict)]}"
    )


@pytest.mark.requirement("21.6")
async def test_every_event_reaches_every_other_worker_once(url: str) -> None:
    buses = [EventBus(RedisBackend(url, RESOURCE)) for _ in range(3)]
    heard = [Heard(bus) for bus in buses]
    for bus in buses:
        await bus.backend.start(bus.receive)
    for event in EVENTS:
        await buses[0].publish(event)
    for one in heard:
        await one.count(len(EVENTS))
        assert [plain(event) for event in one.events] == [plain(event) for event in EVENTS]
    await buses[0].publish_to(buses[1].backend.worker, EVENTS[0])
    await buses[0].publish_to(buses[0].backend.worker, EVENTS[0])
    await buses[0].publish_to("nobody", EVENTS[0])
    buses[2].publish_soon(EVENTS[1])
    for number, one in zip((2, 2, 1), heard, strict=True):
        await one.count(len(EVENTS) + number)
    buses[1].receive(b"of another version")
    for bus in buses:
        await bus.backend.stop()
    assert [len(one.events) - len(EVENTS) for one in heard] == [2, 2, 1]


async def test_values_expire_and_claims_are_good_once(url: str) -> None:
    one, other = RedisBackend(url, RESOURCE), RedisBackend(url, RESOURCE)
    await one.set("k", b"v", 50)
    assert await other.get("k") == b"v"
    assert await other.get("k", 100) == b"v"
    assert await one._redis.ttl(f"{one._namespace}:k") > 60
    await other.delete("k")
    assert await one.get("k") is None
    assert [await one.claim("c", 5), await other.claim("c", 5)] == [True, False]
    foreign = RedisBackend(url, "http://localhost/other")
    await one.set("k", b"v", 50)
    assert await foreign.get("k") is None
    for backend in (one, other, foreign):
        await backend._redis.aclose()


async def test_what_an_owner_keeps_is_counted_by_all_workers_at_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backends = [RedisBackend(url, "http://localhost/kept") for _ in range(3)]

    async def keep(number: int, owner: str, size: int = 1_000, limit: int = 10 * (1_000 + OVERHEAD)) -> bool:
        store = backends[number % 3]
        return await store.keep(f"event:{owner}:{number}", b"x" * size, 50, owner=owner, limit=limit, charge=size)

    kept = await asyncio.gather(*(keep(number, "a") for number in range(30)))
    assert sum(kept) == 10
    there = [await backends[0].get(f"event:a:{number}") is not None for number in range(30)]
    assert there == kept
    assert [await one.held("event", "a") for one in backends] == [10 * (1_000 + OVERHEAD)] * 3
    assert await backends[0].held("task", "a") == 0
    assert await keep(0, "b")
    assert await backends[0]._redis.ttl(f"{backends[0]._namespace}:event:b:0") <= 50
    ledger = backends[0]._ledger("event", "a")
    assert 50 <= await backends[0]._redis.ttl(ledger) <= 50 + SLOT_S
    past = int(time.time() // SLOT_S) - 1
    await backends[0]._redis.delete(ledger)
    await backends[0]._redis.hset(ledger, mapping={past: 10**9})  # what it kept has expired
    assert await backends[0].held("event", "a") == 0
    assert await keep(31, "a")
    assert str(past).encode() not in await backends[0]._redis.hgetall(ledger)
    monkeypatch.setattr(time, "time", lambda: past * SLOT_S + 10 * 3600)  # this machine's clock is hours ahead
    assert await keep(32, "a")
    assert [await one.held("event", "a") for one in backends] == [2 * (1_000 + OVERHEAD)] * 3
    for one in backends:
        await one._redis.aclose()


async def until_full(store: Callable[[int], Awaitable[object]]) -> int:
    """How many values there is room for."""
    for number in range(1_000):
        try:
            await store(number)
        except StoreFull:
            return number
    return 1_000


async def test_one_kind_does_not_fill_the_store_for_the_others(tmp_path: Path) -> None:
    async with running_redis(tmp_path, maxmemory="16mb") as url:
        backend = RedisBackend(url, RESOURCE)
        await backend.start(lambda _: None)
        async with asyncio.timeout(20):
            while backend._of_a_kind == UNBOUNDED:
                await asyncio.to_thread(lambda: None)
        assert await until_full(
            lambda one: backend.keep(f"event:{one}", b"x" * 100_000, 50, owner=str(one), limit=10**9, charge=100_000)
        ) == 16 * 1024 * 1024 // OF_A_KIND * 3 // 4 // (100_000 + OVERHEAD)
        assert await backend.keep("event:small", b"x", 50, owner="small", limit=10**9, charge=1)
        await backend.set("session:1", b"x" * 100_000, 50)
        assert await backend.keep("task:1", b"x" * 100_000, 50, owner="a", limit=10**9, charge=100_000)
        assert await until_full(lambda one: backend.set(f"session:{one}", b"x" * 100_000, 50)) > 50
        await backend.stop()


async def test_of_changes_at_once_on_several_workers_none_is_lost(url: str) -> None:
    backends = [RedisBackend(url, RESOURCE) for _ in range(3)]
    stores = [Sessions(EventBus(one)) for one in backends]
    session = await stores[0].open("p", "2025-11-25", {})

    def adding(uri: str) -> Callable[[Session], Session]:
        return lambda one: msgspec.structs.replace(one, subscriptions=[*one.subscriptions, uri])

    uris = [f"test://{number}" for number in range(24)]
    changes = [stores[number % 3].change(session, adding(uri)) for number, uri in enumerate(uris)]
    opened = [stores[number % 3].open("q", "2025-11-25", {}) for number in range(MAX_PER_PRINCIPAL + 12)]
    _, ids = await asyncio.gather(asyncio.gather(*changes), asyncio.gather(*opened))
    found = await stores[1].find(session.id, "p")
    assert found
    assert sorted(found.subscriptions) == sorted(uris)
    alive = [one for one in ids if await stores[2].find(one.id, "q")]
    assert len(alive) == MAX_PER_PRINCIPAL
    await stores[0].close(session.id, "p")
    assert await stores[1].change(session, adding("late")) == session
    assert await stores[1].find(session.id, "p") is None
    for one in backends:
        await one._redis.aclose()


async def test_a_change_waits_for_one_that_died_and_not_for_ever(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = RedisBackend(url, RESOURCE), RedisBackend(url, RESOURCE)
    assert await one.claim("alone:x", 1)  # and never released
    async with lock(other, "x"):
        assert not await one.claim("alone:x", 1)
    monkeypatch.setattr(backend_module, "ALONE_S", 0.05)
    assert await one.claim("alone:x", 100)
    with pytest.raises(StoreUnavailable):
        async with lock(other, "x"):
            raise AssertionError
    for backend in (one, other):
        await backend._redis.aclose()


@pytest.mark.parametrize("where", ["redis", "memory"])
async def test_a_change_that_took_too_long_does_not_take_away_the_next_ones_lock(url: str, where: str) -> None:
    one = RedisBackend(url, "http://localhost/alone") if where == "redis" else InMemoryBackend()
    async with lock(one, "x"):
        if isinstance(one, RedisBackend):
            await one._redis.delete(f"{one._namespace}:claim:alone:x")  # its time is over
        else:
            one._kinds["claim"].drop("claim:alone:x")
        assert await one.claim("alone:x", 50, "another's")
    assert not await one.claim("alone:x", 50, "a third's")
    await one.release("alone:x", "another's")
    assert await one.claim("alone:x", 50, "a third's")
    if isinstance(one, RedisBackend):
        await one._redis.aclose()


def dispatcher(url: str) -> Dispatcher:
    return Dispatcher(McpServer("s"), EngineConfig(state_keys=(b"k" * 32,)), RedisBackend(url, RESOURCE))


class Work:
    """A task's handler that asks and then waits."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def __call__(self, running: TaskInteraction) -> CallToolResult:
        question = Question(InputRequest("elicitation/create", {}), {}, bytes)
        answers = await running.ask({"a": question, "b": question})
        await self.go.wait()
        return CallToolResult([], structured_content={key: value.decode() for key, value in answers.items()})


@pytest.mark.requirement("1.13")
async def test_a_task_is_looked_at_answered_and_cancelled_on_another_worker(url: str) -> None:
    one, other = dispatcher(url), dispatcher(url)
    for each in (one, other):
        await each.start()

    async def reaches(task_id: str, status: str) -> None:
        async with asyncio.timeout(5):
            while (found := await other.tasks.find(task_id, "alice")) is None or found.status != status:
                await asyncio.wait([asyncio.ensure_future(asyncio.to_thread(lambda: None))])

    work = Work()
    created = await one.tasks.start("alice", "tool", work, None)
    await reaches(created.task_id, "input_required")
    record = await other.tasks.find(created.task_id, "alice")
    assert record
    await other.tasks.answer(record, {"a": Raw(b"1"), "c": Raw(b"0")})
    record = await other.tasks.find(created.task_id, "alice")
    assert record
    assert record.questions.keys() == {"b"}
    await other.tasks.answer(record, {"c": Raw(b"0")})
    await other.tasks.answer(record, {"b": Raw(b"2")})
    await reaches(created.task_id, "working")
    work.go.set()
    await reaches(created.task_id, "completed")
    done = await other.tasks.find(created.task_id, "alice")
    assert done
    assert b'{"a":"1","b":"2"}' in bytes(done.result if isinstance(done.result, Raw) else b"")
    created = await one.tasks.start("alice", "tool", Work(), None)
    record = await other.tasks.find(created.task_id, "alice")
    assert record
    await other.tasks.cancel(record)
    await reaches(created.task_id, "cancelled")
    async with asyncio.timeout(5):
        while one.tasks._running:
            await asyncio.wait([asyncio.ensure_future(asyncio.to_thread(lambda: None))])
    for each in (one, other):
        await each.stop()


async def test_a_task_whose_worker_died_has_failed(url: str) -> None:
    one, other = dispatcher(url), dispatcher(url)
    await other.start()
    await one.bus.backend.set(f"worker:{one.bus.backend.worker}", b"", 60)
    created = await one.tasks.start("alice", "tool", Work(), None)
    alive = await other.tasks.find(created.task_id, "alice")
    assert alive
    assert alive.status in ("working", "input_required")
    await one.bus.backend.delete(f"worker:{one.bus.backend.worker}")
    dead = await other.tasks.find(created.task_id, "alice")
    assert dead
    assert (dead.status, dead.error) == ("failed", {"code": -32603, "message": "The server was restarted"})
    await one.tasks.stop()
    await other.stop()
    await one.bus.backend.stop()


async def test_workers_find_each_other_again_after_redis_was_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_module, "MAX_PAUSE_S", 0.2)
    port = free_port()
    buses: list[EventBus] = []
    heard: list[Heard] = []
    async with running_redis(tmp_path, port) as url:
        for _ in range(2):
            bus = EventBus(RedisBackend(url, RESOURCE))
            buses.append(bus)
            heard.append(Heard(bus))
            await bus.backend.start(bus.receive)
        await buses[0].publish(EVENTS[0])
        await heard[1].count(1)
    buses[0].publish_soon(EVENTS[0])
    with pytest.raises(StoreUnavailable):
        await buses[0].publish(EVENTS[0])
    async with running_redis(tmp_path, port):
        async with asyncio.timeout(20):
            while len(heard[1].events) < 2:
                await buses[0].publish(EVENTS[1])
                await asyncio.wait([asyncio.ensure_future(heard[1].some.wait())], timeout=0.1)
        for bus in buses:
            await bus.backend.stop()


async def test_while_redis_is_away_the_rest_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_module, "MAX_PAUSE_S", 0.1)
    async with AsyncExitStack() as redis:
        url = await redis.enter_async_context(running_redis(tmp_path))
        async with running_stack(tmp_path, fixture, redis_url=url) as stack:
            token = await stack.token("alice")
            opened = await stack.post(wire.legacy("initialize", wire.INITIALIZE), token)
            mine = {"mcp_session_id": opened.headers["mcp-session-id"], "mcp_protocol_version": "2025-11-25"}
            told = wire.legacy("tools/call", {"name": "test_tool_with_progress", "_meta": {"progressToken": "p"}})
            async with stack.open(told, token, **mine) as (_, events):
                first = await anext(events)
                await redis.aclose()
                rest = [event async for event in events]
            assert first["id"]
            assert "id" not in rest[-1]
            assert "progress was told" in rest[-1]["data"]
            away = await stack.post(wire.legacy("ping", request_id="away"), token, **mine)
            assert (away.status_code, away.headers["retry-after"]) == (503, "2")
            assert (away.json()["error"]["message"], away.json()["id"]) == ("temporarily unavailable", "away")
            modern = wire.modern("tools/call", {"name": "greet", "arguments": {"name": "a"}})
            assert (await stack.post(modern, token, **wire.headers("tools/call", "greet"))).status_code == 200


async def test_a_start_without_redis_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_module, "MAX_PAUSE_S", 0.1)
    backend = RedisBackend(f"redis://127.0.0.1:{free_port()}/0", RESOURCE)
    await backend.start(lambda _: None)
    await backend.stop()


async def test_too_many_tasks_are_refused_before_they_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcp_server.sessions.tasks.MAX_PER_PRINCIPAL", 0)
    lock = Dispatcher(McpServer("s"), EngineConfig(state_keys=(b"k" * 32,)))
    with pytest.raises(ToolError):
        await lock.tasks.start("alice", "tool", Work(), None)
