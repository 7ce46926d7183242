"""Runs of tasks whose handlers swallow their cancellation: ended again, their results kept, each with its line."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from mcp_server import McpServer
from mcp_server.engine.outcome import Completed, Outcome
from mcp_server.engine.pipeline import Pipeline
from mcp_server.identity import Principal
from mcp_server.store.backend import StoreUnavailable
from tests.kit.backends import settle, until
from tests.kit.calls import answer, call, serving
from tests.kit.deaf import CALL, GOES_ON, TASKS, Deaf
from tests.kit.deaf import soon as in_time
from tests.kit.logs import logged
from tests.kit.principals import principal


@pytest.fixture(autouse=True)
async def soon(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    async with in_time(monkeypatch):
        yield


async def test_a_run_of_a_task_is_cancelled_again_too() -> None:
    deaf, who = Deaf(), principal()
    async with serving(deaf.server) as (pipeline, _):
        made = await pipeline.serve(call("tools/call", CALL, who=who, capabilities=TASKS))
        await deaf.begun.wait()
        task = answer(made)["result"]["taskId"]
        with logged() as lines:
            assert isinstance(
                await pipeline.serve(call("tasks/cancel", {"taskId": task}, who=who, capabilities=TASKS)), Completed
            )
            for _ in range(3):
                await deaf.cancelled.acquire()
        told = [(one["name"], one["reason"]) for one in lines if one["text"] == GOES_ON]
        assert told[:2] == [("deaf", "task_cancelled")] * 2
        got = answer(await pipeline.serve(call("tasks/get", {"taskId": task}, who=who, capabilities=TASKS)))
        assert got["result"]["status"] == "cancelled"
        assert len(pipeline.runtime.tasks.running) == 1
        deaf.freed.set()
        await deaf.ended.wait()


@pytest.mark.parametrize("how", ["returns", "fails", "heeds"])
@pytest.mark.parametrize("ending", ["cancelled", "failed"])
async def test_the_audit_says_of_a_run_what_its_record_says(how: str, ending: str) -> None:
    """Whatever a handler makes of its cancellation: a time that is over is no client's word."""
    server, begun, who = McpServer("s"), asyncio.Event(), principal()

    @server.tool(task="allowed")
    async def work() -> str:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if how == "heeds":
                raise
            if how == "fails":
                raise ValueError from None
        return "what nobody asked for"

    async with serving(server, task_ttl_s=60 if ending == "cancelled" else 0.01) as (pipeline, told):
        made = await pipeline.serve(call("tools/call", {"name": "work"}, who=who, capabilities=TASKS))
        await begun.wait()
        if ending == "cancelled":
            task = {"taskId": answer(made)["result"]["taskId"]}
            await pipeline.serve(call("tasks/cancel", task, who=who, capabilities=TASKS))
            await settle()
        status = (await ended(pipeline, made, who))["status"]
        assert status == ("completed" if (how, ending) == ("returns", "failed") else ending)
        assert [line.reason for line in told.notes if line.method == "task"] == [f"task_{status}"]


async def test_a_run_that_outlives_its_server_has_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    deaf = Deaf()
    async with serving(deaf.server) as (pipeline, told):
        monkeypatch.setattr(pipeline.runtime.tasks, "_stop_s", 0.01)
        await pipeline.serve(call("tools/call", CALL, capabilities=TASKS))
        await deaf.begun.wait()
    assert not deaf.ended.is_set()
    deaf.freed.set()
    await deaf.ended.wait()
    await settle()
    assert [line.reason for line in told.notes if line.method == "task"] == ["task_failed"]


async def test_nor_does_a_task_outlive_its_time() -> None:
    deaf = Deaf()
    async with serving(deaf.server, task_ttl_s=0.01) as (pipeline, _):
        await pipeline.serve(call("tools/call", CALL, capabilities=TASKS))
        with logged() as lines:
            for _ in range(3):
                await deaf.cancelled.acquire()
        assert {one["reason"] for one in lines if one["text"] == GOES_ON} == {"task_failed"}
        deaf.freed.set()
        await deaf.ended.wait()


async def test_a_handler_that_ends_late_has_its_result(monkeypatch: pytest.MonkeyPatch) -> None:
    deaf, who = Deaf(), principal()
    async with serving(deaf.server, task_ttl_s=0.01) as (pipeline, _):
        made = await pipeline.serve(call("tools/call", CALL, who=who, capabilities=TASKS))
        for _ in range(3):
            await deaf.cancelled.acquire()
        deaf.freed.set()
        assert (await ended(pipeline, made, who))["status"] == "completed"


async def test_one_that_heeds_a_later_cancellation_took_too_long() -> None:
    deaf, who = Deaf(swallows=1), principal()
    async with serving(deaf.server, task_ttl_s=0.01) as (pipeline, _):
        made = await pipeline.serve(call("tools/call", CALL, who=who, capabilities=TASKS))
        assert (await ended(pipeline, made, who))["error"]["message"] == "The task took too long"


async def test_so_did_one_whose_task_group_had_failed_before() -> None:
    server, who = McpServer("s"), principal()

    @server.tool(task="allowed")
    async def deaf() -> str:
        async def fails() -> None:
            raise ValueError

        with contextlib.suppress(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                group.create_task(fails())
        await asyncio.Event().wait()
        return ""

    async with serving(server, task_ttl_s=0.01) as (pipeline, _):
        made = await pipeline.serve(call("tools/call", CALL, who=who, capabilities=TASKS))
        assert (await ended(pipeline, made, who))["error"]["message"] == "The task took too long"


async def test_a_stall_before_a_run_costs_it_its_time_and_not_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second cancellation came first then, was nobody's, and the task worked until its lease was over."""
    server, who, ahead, time = McpServer("s"), principal(), 0.0, asyncio.get_running_loop().time

    @server.tool(task="allowed")
    async def waits() -> str:
        await asyncio.Event().wait()
        return ""

    def stalled(*given: Any) -> None:
        nonlocal ahead
        begin(*given)
        ahead = 60.0

    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: time() + ahead)
    async with serving(server, task_ttl_s=10) as (pipeline, _):
        begin = pipeline.runtime.tasks._runner.begin
        monkeypatch.setattr(pipeline.runtime.tasks._runner, "begin", stalled)
        made = await pipeline.serve(call("tools/call", {**CALL, "name": "waits"}, who=who, capabilities=TASKS))
        assert (await ended(pipeline, made, who))["error"]["message"] == "The task took too long"


async def test_a_result_that_waits_for_the_store_is_no_handler_that_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancelled then, its writing would be: the result was lost, and the task worked for ever."""
    deaf, who, tries = Deaf(), principal(), asyncio.Semaphore(0)
    async with serving(deaf.server, task_ttl_s=0.05) as (pipeline, _):
        store = pipeline.runtime.tasks._store
        write, away = store.write, True

        async def hanging(*args: Any, **more: Any) -> Any:
            tries.release()
            if away:
                raise StoreUnavailable("away")
            return await write(*args, **more)

        made = await pipeline.serve(call("tools/call", CALL, who=who, capabilities=TASKS))
        await deaf.begun.wait()
        monkeypatch.setattr(store, "write", hanging)
        monkeypatch.setattr(pipeline.runtime.tasks._runner, "_retry_s", 0.01)
        deaf.freed.set()
        async with asyncio.timeout(60):
            for _ in range(5):  # 0.01 s, and twice as long each time
                await tries.acquire()
        away = False
        assert (await ended(pipeline, made, who))["status"] == "completed"


async def test_nor_is_one_of_a_handler_that_swallowed_two_and_whose_group_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each cancellation that was asked for and swallowed counts: the writing is none of what they were for."""
    server, who = McpServer("s"), principal()

    @server.tool(task="allowed")
    async def deaf() -> str:
        async def swallows_two() -> None:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise ValueError from None

        with contextlib.suppress(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(0))
                await swallows_two()
        return "its result"

    async with serving(server, task_ttl_s=0.01) as (pipeline, told):
        store = pipeline.runtime.tasks._store
        write = store.write

        async def over_a_network(*args: Any, **more: Any) -> Any:
            for _ in range(5):
                await asyncio.sleep(0)
            return await write(*args, **more)

        monkeypatch.setattr(store, "write", over_a_network)
        made = await pipeline.serve(call("tools/call", CALL, who=who, capabilities=TASKS))
        assert (await ended(pipeline, made, who))["status"] == "completed"
        await settle()
        assert [line.reason for line in told.notes if line.method == "task"] == ["task_completed"]


async def ended(pipeline: Pipeline, made: Outcome, who: Principal) -> dict[str, Any]:
    """What its client is told of a task that has ended."""
    task, found = answer(made)["result"]["taskId"], dict[str, Any]()

    async def over() -> bool:
        got = await pipeline.serve(call("tasks/get", {"taskId": task}, who=who, capabilities=TASKS))
        found.update(answer(got)["result"])
        return bool(found["status"] != "working")

    async with asyncio.timeout(60):
        await until(over)
    return found
