"""Several workers on one Redis: what one knows, the others know; and Redis may go away for a while."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from msgspec import UNSET, Raw

from mcp_server import Context, McpServer, elicitation
from mcp_server.cli import main
from mcp_server.engine.pipeline import Pipeline
from mcp_server.protocol.types.tasks import EXTENSION
from mcp_server.sessions.session import MAX_PER_PRINCIPAL, Session, Sessions
from mcp_server.sessions.tasks.registry import LOST
from mcp_server.store.backend import StoreUnavailable
from mcp_server.store.events import (
    CallCancelled,
    Event,
    EventBus,
    ListChanged,
    QuestionAnswered,
    ResourceUpdated,
    SessionEnded,
    StreamAppended,
    StreamOpened,
    SubscriptionsChanged,
    TaskChanged,
    TaskReleased,
    TokensRevoked,
)
from mcp_server.store.redis import RedisBackend, Timing
from mcp_server.store.revocations import Revocations, StoreLedger
from tests.kit import wire
from tests.kit.calls import answer, call, serving
from tests.kit.principals import principal
from tests.kit.served import running_redis
from tests.kit.servers.conformance import server as fixture
from tests.kit.stack import free_port, running_stack, until

RESOURCE = "http://localhost/mcp"
WHO = msgspec.structs.replace(principal(), expires_at=time.time() + 3600)
TASKS: dict[str, Any] = {"elicitation": {}, "extensions": {EXTENSION: {}}}
EVENTS: list[Event] = [
    ListChanged("tools"),
    ResourceUpdated("a://b"),
    SubscriptionsChanged("s", ["a://b"]),
    StreamOpened("s", "t"),
    SessionEnded("s"),
    CallCancelled("s", 5),
    CallCancelled("s", "x"),
    QuestionAnswered("s", "q", Raw(b'{"a":1}'), UNSET),
    QuestionAnswered("s", "q", UNSET, Raw(b'{"code":1}')),
    StreamAppended("stream", 7),
    TaskChanged("t"),
    TaskReleased("t"),
    TokensRevoked(Raw(b'{"a":1}')),
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
        async with asyncio.timeout(60):
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


async def test_what_an_operator_revokes_is_over_on_every_worker_and_on_those_that_begin_later(
    url: str, tmp_path: Path
) -> None:
    alice = msgspec.structs.replace(principal("https://kc.example"), issued_at=1.0)
    given = {"MCP_ISSUER": alice.issuer, "MCP_RESOURCE": RESOURCE, "MCP_REDIS_URL": url}
    given["MCP_AUDIT_FILE"] = str(tmp_path / "audit.jsonl")
    workers, told = [], [asyncio.Event() for _ in range(3)]
    for event in told:
        backend = RedisBackend(url, RESOURCE)
        made = Revocations(EventBus(backend), ledgers=[StoreLedger(backend)])
        made.followers["test"] = lambda _, event=event: event.set() or 0  # type: ignore[misc]
        workers.append(made)
    for made in workers[:2]:
        await made.bus.backend.start(made.bus.receive)
        await made.start()
    command = ["revoke", "--sub", alice.subject, "--why", "a test"]
    done = await asyncio.to_thread(CliRunner().invoke, main, command, env=given)
    assert done.exit_code == 0, done.output
    async with asyncio.timeout(60):
        await asyncio.gather(*(event.wait() for event in told[:2]))
    await workers[2].start()  # reads what is kept, and hears nothing
    assert [made.known.over(alice) for made in workers] == [True, True, True]
    for made in workers:
        await made.stop()
        await made.bus.backend.stop()


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


server = McpServer("s")
gates: dict[str, asyncio.Event] = {}


class Sure(msgspec.Struct):
    sure: bool


@server.tool(task="required", on_lost="retry")
async def work(name: str, ctx: Context) -> str:
    """Ask twice at once, and then wait."""
    answers = await ctx.ask(a=elicitation("A?", Sure), b=elicitation("B?", Sure))
    await gates[name].wait()
    return f"{answers['a'].action} {answers['b'].action} {ctx.task_attempt}"


@server.tool(task="required")
async def once(name: str) -> str:
    """Wait, and act once."""
    await gates[name].wait()
    return "acted"


@asynccontextmanager
async def workers(url: str, lease_s: float = 30.0) -> AsyncIterator[list[Pipeline]]:
    """Two workers of one server; a lease that runs out while its worker waits for a turn is another's."""
    resource = f"{RESOURCE}/{len(gates)}"
    backends = [RedisBackend(url, resource) for _ in range(2)]
    async with AsyncExitStack() as stack:
        config: dict[str, Any] = {"task_lease_s": lease_s, "default_scopes": frozenset[str]()}
        yield [(await stack.enter_async_context(serving(server, backend=one, **config)))[0] for one in backends]


async def begin(pipeline: Pipeline, tool: str, name: str) -> str:
    gates[name] = asyncio.Event()
    asked = call("tools/call", {"name": tool, "arguments": {"name": name}}, capabilities=TASKS, who=WHO)
    task_id = answer(await pipeline.serve(asked))["result"]["taskId"]
    return str(task_id)


async def ask(pipeline: Pipeline, method: str, task_id: str, **more: object) -> Any:
    return answer(await pipeline.serve(call(method, {"taskId": task_id, **more}, capabilities=TASKS, who=WHO)))[
        "result"
    ]


async def reaches(pipeline: Pipeline, task_id: str, status: str) -> Any:
    """The task once it stands so; looked at with pauses, for a fast machine's looks would be over its caller's rate."""
    shown: Any = None

    async def so() -> bool:
        nonlocal shown
        shown = await ask(pipeline, "tasks/get", task_id)
        assert shown["status"] in ("working", "input_required", status), shown
        return bool(shown["status"] == status)

    await until(so)
    return shown


YES = {"action": "accept", "content": {"sure": True}}


@pytest.mark.requirement("1.13")
async def test_a_task_is_looked_at_answered_and_cancelled_on_another_worker(url: str) -> None:
    async with workers(url) as (one, other):
        task_id = await begin(one, "work", "answered")
        await reaches(other, task_id, "input_required")
        await ask(other, "tasks/update", task_id, inputResponses={"a": YES, "c": YES})
        assert (await ask(one, "tasks/get", task_id))["inputRequests"].keys() == {"b"}
        await ask(other, "tasks/update", task_id, inputResponses={"c": YES})
        await ask(other, "tasks/update", task_id, inputResponses={"b": {"action": "decline"}})
        assert list(other.runtime.tasks.running) == [task_id]
        gates["answered"].set()
        done = await reaches(one, task_id, "completed")
        assert done["result"]["content"][0]["text"] == "accept decline 2"
        task_id = await begin(one, "once", "cancelled")
        await ask(other, "tasks/cancel", task_id)
        await reaches(one, task_id, "cancelled")
        async with asyncio.timeout(60):
            while one.runtime.tasks.running:
                await asyncio.wait([asyncio.ensure_future(asyncio.to_thread(lambda: None))])


async def test_a_task_whose_worker_died_runs_again_or_has_failed(url: str) -> None:
    async with workers(url, 2.0) as (one, other):
        task_id, acts = await begin(one, "work", "lost"), await begin(one, "once", "may have acted")
        for key in ("a", "b"):
            await reaches(one, task_id, "input_required")
            await ask(one, "tasks/update", task_id, inputResponses={key: YES})
        assert set(one.runtime.tasks.running) == {task_id, acts}
        await one.runtime.tasks.leases.end()  # it renews nothing more, as a worker that was killed or stopped
        failed = await reaches(other, acts, "failed")
        assert failed["error"]["message"] == LOST
        gates["lost"].set()  # the first worker, which lives after all, ends late
        done = await reaches(other, task_id, "completed")
        assert done["result"]["content"][0]["text"] in ("accept accept 2", "accept accept 3")
        gates["may have acted"].set()
        await asyncio.wait(one.runtime.tasks.working(), timeout=5) if one.runtime.tasks.running else None
        assert (await ask(one, "tasks/get", acts))["status"] == "failed"
        assert await ask(one, "tasks/get", task_id) == done


async def test_workers_find_each_other_again_after_redis_was_away(tmp_path: Path) -> None:
    port = free_port()
    buses: list[EventBus] = []
    heard: list[Heard] = []
    async with running_redis(tmp_path, port) as url:
        for _ in range(2):
            bus = EventBus(RedisBackend(url, RESOURCE, Timing(max_pause_s=0.2, start_s=20)))
            buses.append(bus)
            heard.append(Heard(bus))
            await bus.backend.start(bus.receive)
        await buses[0].publish(EVENTS[0])
        await heard[1].count(1)
    buses[0].publish_soon(EVENTS[0])
    with pytest.raises(StoreUnavailable):
        await buses[0].publish(EVENTS[0])
    async with running_redis(tmp_path, port):
        async with asyncio.timeout(60):
            while len(heard[1].events) < 2:
                await buses[0].publish(EVENTS[1])
                await asyncio.wait([asyncio.ensure_future(heard[1].some.wait())], timeout=0.1)
        for bus in buses:
            await bus.backend.stop()


async def test_while_redis_is_away_the_rest_is_served(tmp_path: Path) -> None:
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
