"""What fails beside a call costs the call nothing: counters, threads of an earlier life, a swallowed cancellation."""

import asyncio
import contextlib
import gc
import threading
import weakref
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mcp_server import McpServer
from mcp_server.engine.outcome import Cancelled, Completed
from mcp_server.engine.supervisor import GRACE_S, CallSupervisor, CallSupervisors
from mcp_server.limits.concurrency import ConcurrencyLimiter, Place
from mcp_server.limits.threads import Threads
from mcp_server.observe import metrics
from mcp_server.observe.audit import AuditLog, Decision
from mcp_server.observe.recorder import CallRecorder
from mcp_server.protocol.jsonrpc import Notification
from tests.kit.backends import settle
from tests.kit.calls import Channel, call, limits, serving


def test_a_counter_that_fails_costs_no_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise FileNotFoundError("the shared folder is gone")

    monkeypatch.setattr(metrics, "CallMeter", fails)
    audit = AuditLog(str(tmp_path / "audit.jsonl"))
    recorder = CallRecorder(audit)
    for _ in range(2):
        line = Decision(time=1.0, decision="allow", issuer="i", method="ping")
        recorder.finished(line, method="ping", outcome="ok", seconds=0.1)
    audit.close()
    assert len((tmp_path / "audit.jsonl").read_text().splitlines()) == 2


def test_a_thread_that_outlives_its_loop_gives_its_callers_slot_back() -> None:
    gate, begun = threading.Event(), threading.Event()
    calls, threads = ConcurrencyLimiter(1), Threads(1)

    def work() -> None:
        begun.set()
        gate.wait()

    async def life() -> None:
        assert calls.acquire("one")
        place = Place(calls, "one")
        job = asyncio.create_task(threads.run(work, place))
        await asyncio.to_thread(begun.wait)
        job.cancel()
        await asyncio.gather(job, return_exceptions=True)
        place.release()
        assert not calls.has_room("one")
        threads.stop()

    asyncio.run(life())
    assert calls.has_room("one")
    gate.set()


async def test_a_cancelled_call_is_not_answered_though_its_handler_swallowed_that() -> None:
    server, begun = McpServer("s"), asyncio.Event()

    @server.tool()
    async def stubborn() -> str:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "swallowed"
        return ""

    async with serving(server) as (pipeline, told):
        asked = call("tools/call", {"name": "stubborn", "arguments": {}}, channel=Channel(conversation="c"))
        task = asyncio.create_task(pipeline.serve(asked))
        await begun.wait()
        params = msgspec.Raw(msgspec.json.encode({"requestId": 1}))
        await pipeline.runtime.notified(Notification("notifications/cancelled", params), "c")
        assert await task == Cancelled("cancelled")
        assert [label for _, _, label in told.calls] == ["cancelled"]
        ping = await pipeline.serve(call("ping", revision="2025-11-25"))
        assert isinstance(ping, Completed)


def test_calls_are_watched_in_a_new_loop_though_the_last_one_is_only_stopped() -> None:
    supervisors = CallSupervisors()

    async def call_that_takes_too_long() -> str | None:
        watch = CallSupervisor(supervisors)
        watch.begin(0)
        try:
            await asyncio.wait_for(asyncio.Event().wait(), 60)
        except asyncio.CancelledError:
            assert watch.absorb_cancellation()
        finally:
            watch.stop()
        return watch.reason

    async def begin() -> None:
        CallSupervisor(supervisors).begin(0)  # the loop stops before it looks

    loops = asyncio.new_event_loop(), asyncio.new_event_loop()
    loops[0].run_until_complete(begin())
    assert loops[1].run_until_complete(call_that_takes_too_long()) == "timed_out"
    for loop in loops:
        loop.close()


async def test_what_a_task_does_after_a_thing_that_took_too_long_has_a_time_of_its_own() -> None:
    watch = CallSupervisor(CallSupervisors())
    for limit_s, lasts_s, ended in ((0, 10, "timed_out"), (10, 3 * GRACE_S, None)):
        watch.begin(limit_s)
        assert watch.reason is None
        try:
            await asyncio.wait_for(asyncio.Event().wait(), lasts_s)
        except asyncio.CancelledError:
            assert watch.absorb_cancellation()
        except TimeoutError:
            pass
        finally:
            watch.stop()
        assert watch.reason == ended
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()


async def failing_group() -> None:
    """Python before 3.13 leaves its request to cancel behind in the task that has met it."""

    async def fails() -> None:
        raise ValueError("on its way")

    with contextlib.suppress(ExceptionGroup):
        async with asyncio.TaskGroup() as group:
            group.create_task(fails())


async def test_a_group_that_failed_on_the_way_hides_no_end_of_a_call() -> None:
    server = McpServer("s")

    @server.tool()
    async def goes_on() -> str:
        await failing_group()
        await asyncio.Event().wait()
        return "never"

    @server.tool()
    async def fails_with_its_group() -> str:
        await failing_group()
        raise ValueError("in the end")

    @server.tool()
    async def was_cancelled_by_nobody() -> str:
        raise asyncio.CancelledError

    @server.tool()
    async def awaits_what_was_cancelled() -> str:
        await failing_group()
        other = asyncio.ensure_future(asyncio.Event().wait())
        other.cancel()
        await other
        return "never"

    @server.tool()
    async def has_a_group_clean_up() -> str:
        try:
            await asyncio.Event().wait()
        finally:
            await failing_group()
        return "never"

    names = (
        "goes_on",
        "fails_with_its_group",
        "was_cancelled_by_nobody",
        "awaits_what_was_cancelled",
        "has_a_group_clean_up",
    )
    async with serving(server, limits(call_timeout_s=0.01)) as (pipeline, told):
        for name in names:
            await pipeline.serve(call("tools/call", {"name": name, "arguments": {}}))
        assert [outcome for *_, outcome in told.calls] == ["failed", "tool_error", "tool_error", "tool_error", "failed"]


async def test_a_group_that_failed_leaves_the_count_of_others_alone() -> None:
    """Who wants a task to end while its group fails still does; who no longer does is not taken for it."""
    task = asyncio.current_task()
    assert task is not None
    await failing_group()
    assert task.cancelling() == 0

    async def ended_meanwhile() -> None:
        task.cancel()
        raise ValueError

    with contextlib.suppress(ExceptionGroup, asyncio.CancelledError):
        async with asyncio.TaskGroup() as group:
            group.create_task(ended_meanwhile())
    assert task.uncancel() == 0


async def test_what_is_over_when_all_is_ended_still_answers() -> None:
    """A request comes after the time of all calls, and is refused before its end would be told."""
    supervisors, task = CallSupervisors(), asyncio.current_task()
    watch = CallSupervisor(supervisors)
    for end in (supervisors.end_all, lambda: None):
        watch.begin(10)
        watch.stop()
        end()
    await settle()
    assert task is not None
    assert (watch.reason, task.cancelling()) == (None, 0)


async def test_what_follows_a_thing_that_was_ended_can_be_ended_before_it_begins() -> None:
    watch, task = CallSupervisor(CallSupervisors()), asyncio.current_task()
    assert task is not None
    for reason in ("revoked", "cancelled"):  # an item of a batch while it runs, and the next while a store is asked
        if reason == "revoked":
            watch.begin(10)
        watch.end(reason)
        try:
            await asyncio.wait_for(asyncio.Event().wait(), 60)
        except asyncio.CancelledError:
            assert watch.absorb_cancellation()
        assert watch.reason == reason
        watch.stop()
    assert not watch.absorb_cancellation()  # from here on it is somebody else's
    assert not task.cancelling()


async def test_an_answered_call_leaves_no_circle_to_the_garbage_collector() -> None:
    server = McpServer("s")

    @server.tool()
    async def quick() -> str:
        return "done"

    async with serving(server) as (pipeline, _):
        channel = Channel()
        channel.supervisor = pipeline.supervisor()
        gc.disable()
        try:
            await pipeline.serve(call("tools/call", {"name": "quick", "arguments": {}}, channel=channel))
            gone = weakref.ref(channel)
            del channel
            assert gone() is None
        finally:
            gc.enable()
