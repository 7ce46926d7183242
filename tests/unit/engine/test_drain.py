"""The drain: streams end one by one, no new ones open, calls have their time and are then told, tasks are waited for."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec
import pytest

from mcp_server import Context, McpServer, ToolAnnotations, elicitation
from mcp_server.engine.drain import Drain, DrainTimes
from mcp_server.engine.outcome import Completed, Failed, Subscribed, Unavailable, label
from mcp_server.engine.pipeline import Pipeline
from mcp_server.engine.runtime import EngineConfig, Runtime
from mcp_server.engine.supervisor import CallSupervisors
from mcp_server.protocol.types.notifications import SubscriptionFilter
from mcp_server.sessions.subscriptions import RETRY_MS, Subscription
from mcp_server.store import events
from mcp_server.store.backend import Message
from mcp_server.store.events import TaskReleased
from mcp_server.web.outgoing import event_stream
from tests.kit.backends import Linked, Workers, settle
from tests.kit.calls import call, serving
from tests.kit.principals import principal

AT_ONCE = DrainTimes(lame_duck_s=0, calls_s=0)
LISTEN = {"notifications": {"resourcesListChanged": True}}
TASKS: dict[str, object] = {"elicitation": {}, "extensions": {"io.modelcontextprotocol/tasks": {}}}


class Sure(msgspec.Struct):
    sure: bool


class Told:
    """Who is told what, in order."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.left = asyncio.Event()

    def stop_accepting(self) -> None:
        self.steps.append("stop accepting")

    def leave(self) -> None:
        self.steps.append("leave")
        self.left.set()


async def text() -> str:
    return "text"


@asynccontextmanager
async def draining(server: McpServer) -> AsyncIterator[tuple[Pipeline, Drain, Told]]:
    supervisors = CallSupervisors()
    async with serving(server, supervisors=supervisors) as (pipeline, _):
        yield pipeline, Drain(pipeline.runtime, supervisors, 0.01), Told()


async def test_a_drain_goes_through_its_steps_once() -> None:
    async with draining(McpServer("s")) as (_, drain, told):
        assert not drain.draining
        for _ in range(2):
            drain.begin(AT_ONCE, told.stop_accepting, told.leave)
        await told.left.wait()
        assert (drain.draining, told.steps) == (True, ["stop accepting", "leave"])


@pytest.mark.parametrize("others", range(8))
async def test_steps_that_are_due_at_one_moment_keep_their_order(others: int) -> None:
    """asyncio keeps timers in a heap, whose order of equals changes with each that is taken out."""
    told = Told()

    class Calls(CallSupervisors):
        def end_all(self) -> None:
            told.steps.append("end calls")

    async with serving(McpServer("s")) as (pipeline, _):
        loop = asyncio.get_running_loop()
        for _ in range(others):
            loop.call_at(loop.time() - 1, lambda: None)
        Drain(pipeline.runtime, Calls(), 0.01).begin(AT_ONCE, told.stop_accepting, told.leave)
        await told.left.wait()
    assert told.steps == ["stop accepting", "end calls", "leave"]


async def test_streams_end_and_no_new_one_opens() -> None:
    server = McpServer("s")
    server.resource("news://a")(text)
    async with draining(server) as (pipeline, drain, told):
        open_one = await pipeline.serve(call("subscriptions/listen", LISTEN))
        assert isinstance(open_one, Subscribed)
        drain.begin(AT_ONCE, told.stop_accepting, told.leave)
        assert await open_one.subscription.next() == []
        refused = await pipeline.serve(call("subscriptions/listen", LISTEN))
        assert refused == Unavailable("stopping")
        assert label(refused) == ("failed", "stopping")
        pipeline.runtime.listeners.remove(open_one.subscription)


async def test_who_listened_comes_back_after_the_server_has_stopped_accepting() -> None:
    async with draining(McpServer("s")) as (pipeline, _, _):
        listeners = [Subscription("p", SubscriptionFilter(), session=str(number)) for number in range(20)]
        for one in listeners:
            assert pipeline.runtime.listeners.add(one)
        pipeline.runtime.listeners.drain(3600)
        assert not any(one.ended for one in listeners)
        assert len({one.retry_ms for one in listeners}) > 1
        assert all(RETRY_MS <= one.retry_ms <= RETRY_MS + 3_600_000 for one in listeners)
        for one in listeners:
            pipeline.runtime.listeners.remove(one)


@pytest.mark.parametrize("young", [True, False])
async def test_a_call_whose_time_is_over_is_told_that_it_may_have_acted(*, young: bool) -> None:
    server, begun, ended = McpServer("s"), asyncio.Event(), asyncio.Event()

    @server.tool()
    async def endless() -> str:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return ""

    async with draining(server) as (pipeline, drain, told):
        asked = call("tools/call", {"name": "endless", "arguments": {}})
        running = asyncio.create_task(pipeline.serve(asked))
        await begun.wait()
        if not young:
            supervisors: CallSupervisors = drain._calls
            supervisors._look()
            supervisors._look()  # it is watched by now
        drain.begin(AT_ONCE, told.stop_accepting, told.leave)
        outcome = await running
        assert isinstance(outcome, Failed)
        assert (outcome.error.code, outcome.error.status, outcome.reason) == (-32603, 503, "stopping")
        assert label(outcome) == ("failed", "stopping")
        assert ended.is_set()


async def test_tasks_that_work_are_waited_for_and_no_worker_waits_for_a_person(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server, go = McpServer("s"), asyncio.Event()

    @server.tool(task="required", annotations=ToolAnnotations(read_only_hint=True))
    async def work() -> str:
        await go.wait()
        return "done"

    @server.tool(task="required")
    async def ask(ctx: Context) -> str:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return str(await ctx.ask(sure=elicitation("Sure?", Sure)))

    async with draining(server) as (pipeline, drain, told):
        await drain.finish_tasks()  # nothing to wait for where nothing drains
        for name in ("work", "ask"):
            begun = await pipeline.serve(call("tools/call", {"name": name, "arguments": {}}, capabilities=TASKS))
            assert isinstance(begun, Completed)
        drain.begin(DrainTimes(lame_duck_s=0, calls_s=60), told.stop_accepting, told.leave)
        await settle()  # what asks has asked, and is nobody's now
        looks, working = list[int](), pipeline.runtime.tasks.working

        def counted() -> list[asyncio.Task[None]]:
            looks.append(len(found := working()))
            return found

        monkeypatch.setattr(pipeline.runtime.tasks, "working", counted)
        monkeypatch.setattr("mcp_server.engine.drain.LOOK_S", 60)
        finishing = asyncio.create_task(drain.finish_tasks())
        await settle()
        assert not finishing.done()
        assert len(looks) == 1  # it waits, and does not look again and again
        assert len(pipeline.runtime.tasks.running) == 1  # in memory there is nobody to hand it back to
        go.set()
        async with asyncio.timeout(60):
            await finishing
        assert pipeline.runtime.tasks.working() == []


async def test_what_may_run_again_is_handed_back_at_once_and_what_begins_later_with_the_end() -> None:
    server, ran, workers = McpServer("s"), list[int](), Workers()

    @server.tool(task="required", on_lost="retry")
    async def work(ctx: Context) -> str:
        ran.append(ctx.task_attempt)
        await asyncio.Event().wait()
        return ""

    who = msgspec.structs.replace(principal(), expires_at=time.time() + 3600)
    async with (
        serving(server, backend=workers.join()) as (first, told_first),
        serving(server, backend=workers.join()) as (second, told_second),
    ):
        drain, told = Drain(first.runtime, CallSupervisors(), 0.01), Told()
        asked = call("tools/call", {"name": "work", "arguments": {}}, capabilities=TASKS, who=who)
        await first.serve(asked)
        drain.begin(DrainTimes(lame_duck_s=60, calls_s=60), told.stop_accepting, told.leave)
        await settle()
        assert (ran, len(first.runtime.tasks.running), len(second.runtime.tasks.running)) == ([1, 2], 0, 1)
        assert [line.reason for line in told_first.notes] == ["task_handed_back"]
        await first.serve(asked)  # the lame duck goes on to take calls
        await drain.finish_tasks()
        await settle()
        assert (ran, len(first.runtime.tasks.running), len(second.runtime.tasks.running)) == ([1, 2, 1, 2], 0, 2)
    assert {line.reason for line in told_second.notes} == {"task_handed_back"}


def test_only_a_legacy_stream_that_ends_by_a_drain_says_when_to_come_back() -> None:
    one = Subscription("p", SubscriptionFilter(), session="s")
    assert event_stream.good_bye(one) == b""
    one.retry_ms = 1500
    assert event_stream.good_bye(one) == b"retry: 1500\n\n"


@pytest.mark.parametrize("away", [False, True])
async def test_a_worker_that_ends_has_told_the_others_what_it_did_last(
    monkeypatch: pytest.MonkeyPatch, *, away: bool
) -> None:
    """That it hands its tasks back is said as it ends; a store that takes nothing is not waited for for ever."""
    monkeypatch.setattr(events, "LAST_S", 0.01 if away else 30)
    workers, open_ = Workers(), asyncio.Event()

    class Slow(Linked):
        async def publish(self, messages: Sequence[Message]) -> None:
            await open_.wait()
            await super().publish(messages)

    runtime = Runtime(McpServer("s"), EngineConfig(state_keys=(b"k" * 32,)), Slow(workers, "w0"))
    heard: list[bytes] = []
    other = Linked(workers, "w1")
    workers.all.append(other)
    await other.start(heard.append)
    await runtime.start()
    runtime.bus.publish_soon(TaskReleased("t"))
    stopping = asyncio.create_task(runtime.stop())
    await settle()
    if not away:
        assert not stopping.done()
        open_.set()
    await stopping
    assert len(heard) == (0 if away else 1)
    open_.set()
    await runtime.bus.outbox.idle()
