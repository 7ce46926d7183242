"""A refused call is counted against nothing else, and what it has taken for itself is given back."""

import asyncio
import json
from typing import Any

import msgspec
import pytest

from mcp_server import Context, McpServer
from mcp_server.engine.limiting import CallLimits, StatedLimits
from mcp_server.engine.outcome import AWAY, Completed, Failed, Limited, Unavailable
from mcp_server.limits.concurrency import ConcurrencyLimiter
from mcp_server.limits.limiter import Limiter
from mcp_server.limits.rate import RateLimiter
from mcp_server.limits.rule import read
from mcp_server.protocol.types.tasks import EXTENSION
from mcp_server.store.backend import StoreUnavailable
from tests.kit.backends import Linked, Workers, settle
from tests.kit.calls import Channel, RememberingRecorder, answer, call, limits, serving

CAN: dict[str, Any] = {"elicitation": {}, "extensions": {EXTENSION: {}}}
gate = asyncio.Event()
begun: list[str] = []


class Yes(msgspec.Struct):
    yes: bool


def made() -> McpServer:
    server = McpServer("limited")

    @server.tool()
    async def echo() -> str:
        """Answer."""
        return "echo"

    @server.tool()
    async def waits() -> str:
        """Wait."""
        await asyncio.Event().wait()
        return ""

    @server.tool(task="allowed")
    async def works() -> str:
        """Work."""
        begun.append("works")
        return ""

    @server.tool(task="allowed", ask_first=True, single_use=True)
    async def sure(ctx: Context) -> str:
        """Ask, then work."""
        begun.append("sure")
        return (await ctx.elicit("Sure?", Yes, key="sure")).action

    return server


async def test_a_call_that_finds_no_place_takes_nothing_of_its_callers_rate() -> None:
    now = [0.0]
    rate, calls = RateLimiter(5, lambda: now[0]), ConcurrencyLimiter(1)
    async with serving(made(), limits(rate=rate, calls=calls)) as (pipeline, _):
        running = asyncio.create_task(pipeline.serve(call("tools/call", {"name": "waits"})))
        await asyncio.sleep(0)
        for _ in range(50):
            assert await pipeline.serve(call("tools/call", {"name": "echo"})) == Limited("too_many_at_once", 1)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert isinstance(await pipeline.serve(call("tools/call", {"name": "echo"})), Completed)


async def test_a_call_that_is_too_fast_leaves_its_place() -> None:
    calls = ConcurrencyLimiter(1)
    async with serving(made(), limits(rate=RateLimiter(1, lambda: 0.0), calls=calls)) as (pipeline, _):
        outcomes = [await pipeline.serve(call("tools/call", {"name": "echo"})) for _ in range(20)]
        assert outcomes[-1] == Limited("too_fast", 1)
        assert not calls.holders


async def test_a_call_whose_beginning_cannot_be_written_is_no_part_of_a_quota() -> None:
    stated = CallLimits(StatedLimits(everywhere=(read("2/day per principal"),)), Limiter())

    class Failing(RememberingRecorder):
        async def written(self, decision: Any) -> bool:
            return False

    async with serving(made(), limits(stated=stated)) as (pipeline, told):
        told.begun, written = "before", told.written
        told.written = Failing().written  # type: ignore[method-assign]
        for _ in range(5):
            assert await pipeline.serve(call("tools/call", {"name": "echo"})) == Unavailable("audit_failing")
        told.written = written  # type: ignore[method-assign]
        outcomes = [type(await pipeline.serve(call("tools/call", {"name": "echo"}))) for _ in range(3)]
        assert outcomes == [Completed, Completed, Limited]


async def test_nor_is_a_call_that_was_ended_before_its_beginning_was_written() -> None:
    stated, asked = CallLimits(StatedLimits(everywhere=(read("1/day per principal"),)), Limiter()), asyncio.Event()

    async with serving(made(), limits(stated=stated)) as (pipeline, told):
        told.begun, written = "before", told.written

        async def hangs(decision: Any) -> bool:
            asked.set()
            return await asyncio.Event().wait()

        told.written = hangs  # type: ignore[method-assign]
        serving_one = asyncio.create_task(pipeline.serve(call("tools/call", {"name": "works"})))
        await asked.wait()
        serving_one.cancel()
        await asyncio.gather(serving_one, return_exceptions=True)
        told.written = written  # type: ignore[method-assign]
        outcomes = [type(await pipeline.serve(call("tools/call", {"name": "echo"}))) for _ in range(2)]
        assert outcomes == [Completed, Limited]
    assert begun == []


def failing(backend: Linked, operation: str) -> None:
    """The store gives no answer to the next of these, neither at once nor again."""
    where: Any = backend.jobs if operation == "write" else backend
    real, left = getattr(where, operation), [0, 0]

    async def unanswered(*args: Any) -> Any:
        if left:
            left.pop()
            raise StoreUnavailable(operation)
        return await real(*args)

    setattr(where, operation, unanswered)


@pytest.mark.parametrize("operation", ["held", "write"])
async def test_a_task_that_was_not_begun_for_the_store_is_no_part_of_a_quota(operation: str) -> None:
    stated, backend = CallLimits(StatedLimits(everywhere=(read("1/day per principal"),)), Limiter()), Workers().join()
    async with serving(made(), limits(stated=stated), backend) as (pipeline, _):
        asked = call("tools/call", {"name": "works"}, capabilities=CAN)
        failing(backend, operation)
        while (outcome := await pipeline.serve(asked)) == Unavailable():
            assert begun == []
        assert answer(outcome)["result"]["resultType"] == "task"
        await settle()
        assert begun == ["works"]
        assert isinstance(await pipeline.serve(asked), Limited)
    begun.clear()


def waiting(backend: Linked) -> None:
    """Each of these takes the store a turn of the loop on the way there, and one back."""
    for where, operation in ((backend, "held"), (backend.jobs, "write")):
        real = getattr(where, operation)

        async def takes_turns(*args: Any, real: Any = real) -> Any:
            await asyncio.sleep(0)
            found = await real(*args)
            await asyncio.sleep(0)
            return found

        setattr(where, operation, takes_turns)


@pytest.mark.parametrize("name", ["works", "sure"])
@pytest.mark.parametrize("turns", range(1, 9))
async def test_nor_is_one_whose_client_went_before_it_began(name: str, turns: int) -> None:
    stated, backend = CallLimits(StatedLimits(everywhere=(read("1/day per principal"),)), Limiter()), Workers().join()
    waiting(backend)
    async with serving(made(), limits(stated=stated), backend) as (pipeline, _):
        asked = asyncio.create_task(pipeline.serve(call("tools/call", {"name": name}, capabilities=CAN)))
        await settle(turns)
        asked.cancel()
        [outcome] = await asyncio.gather(asked, return_exceptions=True)
        await settle()
        counts = bool(begun) or not isinstance(outcome, asyncio.CancelledError)
        again = await pipeline.serve(call("tools/call", {"name": "echo"}))
        assert isinstance(again, Limited if counts else Completed)
    begun.clear()


@pytest.mark.parametrize("operation", ["held", "write"])
async def test_a_state_that_is_good_once_is_good_yet_where_nothing_began_for_the_store(operation: str) -> None:
    backend = Workers().join()
    async with serving(made(), backend=backend) as (pipeline, _):
        first = answer(await pipeline.serve(call("tools/call", {"name": "sure"}, capabilities=CAN)))["result"]
        more = {"requestState": first["requestState"], "inputResponses": {"sure": {"action": "decline"}}}
        again = call("tools/call", {"name": "sure", **more}, capabilities=CAN, channel=Channel())
        failing(backend, operation)
        outcome = await pipeline.serve(again)
        if operation == "held":
            while outcome == Unavailable():
                outcome = await pipeline.serve(again)
            assert answer(outcome)["result"]["resultType"] == "task"
        else:  # its handler has begun in the call: nobody is told that nothing has run
            assert isinstance(outcome, Failed)
            assert (outcome.error.message, outcome.error.status, outcome.reason) == (AWAY, 503, "store_away")


@pytest.mark.parametrize("full", [True, False])
async def test_a_state_that_is_good_once_is_good_yet_where_there_is_no_room_for_its_task(full: bool) -> None:
    async with serving(made()) as (pipeline, _):
        tasks = pipeline.runtime.tasks
        asked = call("tools/call", {"name": "sure"}, capabilities=CAN)
        first = answer(await pipeline.serve(asked))["result"]
        more = {"requestState": first["requestState"], "inputResponses": {"sure": {"action": "decline"}}}
        again = call("tools/call", {"name": "sure", **more}, capabilities=CAN, channel=Channel())
        if full:
            limiter, tasks._limiter = tasks._limiter, ConcurrencyLimiter(0)
            refused = answer(await pipeline.serve(again))["result"]
            assert "Too many tasks" in refused["content"][0]["text"]
            tasks._limiter = limiter
        assert answer(await pipeline.serve(again))["result"]["resultType"] == "task"
        used = await pipeline.serve(again)
        assert "requestState" in json.dumps(answer(used)["error"])
