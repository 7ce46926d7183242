"""A run of a task takes the slots that are stated for its tool: the first one, one that was answered, one taken over."""

import asyncio
from typing import Any

import msgspec
import pytest

from mcp_server import Context, McpServer
from mcp_server.engine.limiting import CallLimits, StatedLimits
from mcp_server.engine.outcome import Limited
from mcp_server.engine.pipeline import Pipeline
from mcp_server.limits import accounts
from mcp_server.limits.limiter import Limiter
from mcp_server.limits.rule import read
from mcp_server.protocol.types.tasks import EXTENSION
from mcp_server.sessions.tasks.record import TaskRecord
from tests.kit import calls
from tests.kit.backends import Clock, Workers, settle, until
from tests.kit.calls import Channel, answer, limits, serving
from tests.kit.principals import principal

CAN: dict[str, Any] = {"elicitation": {}, "extensions": {EXTENSION: {}}}
ALICE = msgspec.structs.replace(principal(), expires_at=2e9)


def call(method: str, params: dict[str, Any], **more: Any) -> Any:
    """One of alice's, for whom limits count."""
    return calls.call(method, params, who=ALICE, channel=Channel(ALICE.key), **more)


class Yes(msgspec.Struct):
    yes: bool


class Work:
    """What handlers of all workers wait for, and how many run."""

    def __init__(self) -> None:
        self.gate, self.running, self.most, self.ended = asyncio.Event(), 0, 0, 0

    def server(self, stated: str = "1 at once") -> McpServer:
        made = McpServer("slots")

        @made.tool(task="allowed", on_lost="retry", limits=stated)
        async def work(ctx: Context, asks: bool = False) -> str:
            """Wait for the gate."""
            if asks:
                await ctx.elicit("Sure?", Yes, key="sure")
            self.running += 1
            self.most = max(self.most, self.running)
            try:
                await self.gate.wait()
            finally:
                self.running -= 1
            self.ended += 1
            return "done"

        return made


def stated(everywhere: str = "") -> Any:
    told = StatedLimits(everywhere=(read(everywhere),) if everywhere else ())
    return limits(stated=CallLimits(told, Limiter()))


async def begun(pipeline: Pipeline, **arguments: Any) -> str:
    made = call("tools/call", {"name": "work", "arguments": arguments}, capabilities=CAN)
    task_id: str = answer(await pipeline.serve(made))["result"]["taskId"]
    await settle()
    return task_id


async def ask(pipeline: Pipeline, method: str, task_id: str, **more: Any) -> Any:
    return answer(await pipeline.serve(call(method, {"taskId": task_id, **more}, capabilities=CAN)))


async def until_over(pipeline: Pipeline, task_id: str) -> TaskRecord:
    found = pipeline.runtime.tasks.find

    async def over() -> bool:
        record = await found(task_id, ALICE.key)
        return record is not None and record.over

    await until(over)
    record = await found(task_id, ALICE.key)
    assert record is not None
    return record


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "SLOT_RETRY_S", 0.002)


@pytest.mark.parametrize("everywhere", ["", "1 at once per principal"])
async def test_tasks_that_were_answered_run_one_after_the_other(everywhere: str) -> None:
    work = Work()
    async with serving(work.server(everywhere or "1 at once"), stated(everywhere)) as (pipeline, _):
        tasks = [await begun(pipeline, asks=True) for _ in range(3)]  # one that waits for an answer has no slot
        for task_id in tasks:
            await ask(pipeline, "tasks/update", task_id, inputResponses={"sure": {"action": "decline"}})
        await settle()
        assert work.running == 1
        direct = await pipeline.serve(call("tools/call", {"name": "work"}))
        assert isinstance(direct, Limited)
        work.gate.set()
        assert [(await until_over(pipeline, one)).status for one in tasks] == ["completed"] * 3
        await settle()
        assert (work.most, work.ended) == (1, 3)
        assert answer(await pipeline.serve(call("tools/call", {"name": "work"})))["result"]


async def test_a_task_that_waits_for_a_slot_can_be_cancelled_and_holds_none() -> None:
    work = Work()
    async with serving(work.server(), stated()) as (pipeline, told):
        first, second = [await begun(pipeline, asks=True) for _ in range(2)]
        for task_id in (first, second):
            await ask(pipeline, "tasks/update", task_id, inputResponses={"sure": {"action": "decline"}})
        await settle()
        await ask(pipeline, "tasks/cancel", second)
        await settle()
        assert list(pipeline.runtime.tasks.running) == [first]
        assert [line.reason for line in told.notes if line.method == "task"] == ["task_cancelled"]
        work.gate.set()
        await until_over(pipeline, first)
        assert (work.most, work.ended) == (1, 1)


async def test_a_task_that_is_taken_over_waits_for_a_slot_of_its_new_worker() -> None:
    work, clock = Work(), Clock()
    workers = Workers(clock)
    lost, taking = workers.join(), workers.join()
    async with serving(work.server(), stated(), lost) as (one, _), serving(work.server(), stated(), taking) as (two, _):
        task_id = await begun(one)
        other = await begun(two)
        lost.away = True
        clock.now += 31
        await two.runtime.tasks.leases.renew()
        await two.runtime.tasks.leases.claim()
        await settle()
        assert {task_id, other} == set(two.runtime.tasks.running)
        assert work.running == 2  # the lost worker's own among them
        work.gate.set()
        assert (await until_over(two, task_id)).attempt == 2
        assert (work.most, (await until_over(two, other)).status) == (2, "completed")
        lost.away = False
