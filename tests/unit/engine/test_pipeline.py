"""The pipeline: every outcome of a call, and that each is recorded once, whatever became of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from mcp_server import Context, McpServer, ProtocolError, Scope, ToolError
from mcp_server.engine.outcome import (
    Cancelled,
    Completed,
    Denied,
    Failed,
    Limited,
    NeedsInput,
    Outcome,
    Subscribed,
    ToolFailed,
    Unavailable,
)
from mcp_server.engine.pipeline import Limits, Pipeline
from mcp_server.limits.concurrency import ConcurrencyLimiter
from mcp_server.limits.rate import RateLimiter
from mcp_server.observe.load import Load
from mcp_server.protocol.jsonrpc import Notification
from mcp_server.sessions.subscriptions import SubscriptionLimits
from mcp_server.store.backend import StoreUnavailable
from mcp_server.store.memory import InMemoryBackend
from tests.kit.calls import Channel, RememberingRecorder, answer, call, limits, serving
from tests.kit.principals import principal

READS = principal()


class Yes(msgspec.Struct):
    yes: bool


def made(gate: asyncio.Event | None = None) -> McpServer:
    server = McpServer("s", scopes=[Scope("mcp:read"), Scope("mcp:write")])

    @server.tool(scopes={"mcp:read"})
    async def echo(text: str = "hi") -> str:
        return text

    @server.tool(scopes={"mcp:read"})
    async def sour() -> str:
        raise ToolError("sour")

    @server.tool(scopes={"mcp:read"})
    async def broken() -> str:
        raise LookupError("secret")

    @server.tool(scopes={"mcp:read"})
    async def refusing() -> str:
        raise ProtocolError(4001, "no")

    @server.tool(scopes={"mcp:read"})
    async def away() -> str:
        raise StoreUnavailable("gone")

    _add_others(server, gate)
    return server


def _add_others(server: McpServer, gate: asyncio.Event | None) -> None:
    @server.tool(scopes={"mcp:write"})
    async def write() -> str:
        return "written"

    @server.tool(scopes={"mcp:read"})
    async def waits(ctx: Context) -> str:
        del ctx
        assert gate
        gate.set()
        await asyncio.Event().wait()
        return "never"

    @server.tool(public=True)
    async def free() -> str:
        return "free"

    @server.prompt(scopes={"mcp:read"})
    async def crash() -> str:
        raise LookupError("secret")


def tool(name: str, **more: Any) -> Any:
    return call("tools/call", {"name": name, "arguments": {}}, who=more.pop("who", READS), **more)


@asynccontextmanager
async def one(
    bounds: Limits | None = None, gate: asyncio.Event | None = None
) -> AsyncIterator[tuple[Pipeline, RememberingRecorder]]:
    async with serving(made(gate), bounds) as both:
        yield both


ROWS: dict[str, tuple[Any, type[Outcome], str, str, str]] = {
    "a result": (tool("echo"), Completed, "ok", "allow", ""),
    "a tool's own failure": (tool("sour"), ToolFailed, "tool_error", "allow", "tool_error"),
    "a failing handler": (tool("broken"), ToolFailed, "tool_error", "allow", "tool_error"),
    "an error of the protocol": (tool("refusing"), Failed, "rejected", "deny", "4001"),
    "an unknown tool": (tool("none"), Failed, "rejected", "deny", "-32602"),
    "an unknown method": (call("no/method"), Failed, "rejected", "deny", "-32601"),
    "the store away": (tool("away"), Failed, "failed", "allow", "store_away"),
    "a scope missing": (tool("write"), Denied, "refused", "deny", "insufficient_scope"),
    "nobody known": (tool("echo", who=None), Denied, "refused", "deny", "no_credentials"),
    "nobody known, for all": (tool("free", who=None), Completed, "ok", "allow", ""),
    "a list": (call("tools/list"), Completed, "ok", "allow", ""),
    "a bad cursor": (call("tools/list", {"cursor": "x"}), Failed, "rejected", "deny", "-32602"),
    "a failing prompt": (call("prompts/get", {"name": "crash"}), Failed, "failed", "allow", "-32603"),
    "a subscription": (
        call("subscriptions/listen", {"notifications": {"toolsListChanged": True}}),
        Subscribed,
        "ok",
        "allow",
        "",
    ),
    "no session": (call("ping", revision="2025-11-25"), Completed, "ok", "allow", ""),
    "a session's method without one": (
        call("logging/setLevel", {"level": "error"}, revision="2025-11-25"),
        Failed,
        "rejected",
        "deny",
        "-32600",
    ),
}


@pytest.mark.parametrize("row", ROWS)
async def test_each_outcome_is_of_its_kind_and_recorded_once(row: str) -> None:
    asked, kind, counted, decision, reason = ROWS[row]
    async with one() as (pipeline, told):
        outcome = await pipeline.serve(asked)
        assert isinstance(outcome, kind)
        ((line, method, label),) = told.calls
        assert (label, line.decision, line.reason) == (counted, decision, reason)
        assert method == (asked.request.method if row != "an unknown method" else "other")
        assert (line.method, line.request_id, line.address) == (asked.request.method, "r", "192.0.2.7")
        assert line.subject == ("user" if asked.principal else "")


async def test_what_a_line_names_is_what_is_registered() -> None:
    async with one() as (pipeline, told):
        for name in ("echo", "none", "write"):
            await pipeline.serve(tool(name))
        assert [line.tool for line, _, _ in told.calls] == ["echo", "", "write"]
        assert [set(line.needed) for line, _, _ in told.calls] == [{"mcp:read"}, set(), {"mcp:write"}]


async def test_nothing_of_a_failure_is_told_to_its_caller() -> None:
    async with one() as (pipeline, _):
        for asked in (tool("broken"), call("prompts/get", {"name": "crash"})):
            assert "secret" not in str(answer(await pipeline.serve(asked)))


@pytest.mark.parametrize("when", ["admission", "the work"])
async def test_what_nobody_foresaw_is_an_error_and_is_recorded(when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise MemoryError

    async with one() as (pipeline, told):
        if when == "admission":
            monkeypatch.setattr(pipeline.runtime, "admit", fails)
        else:
            monkeypatch.setattr(pipeline.runtime.policy, "may_call", fails)
        asked = call("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
        outcome = await pipeline.serve(asked)
        assert isinstance(outcome, Failed)
        assert (outcome.error.status, outcome.error.request_id) == (500, 1)
        ((line, _, label),) = told.calls
        assert (label, line.reason) == ("failed", "failed")
        assert line.decision == ("deny" if when == "admission" else "allow")


async def test_a_cancelled_task_leaves_its_line_and_gives_its_place_back() -> None:
    gate, bounds = asyncio.Event(), limits(calls=ConcurrencyLimiter(1))
    async with one(bounds, gate) as (pipeline, told):
        task = asyncio.create_task(pipeline.serve(tool("waits")))
        await gate.wait()
        assert await pipeline.serve(tool("echo")) == Limited("too_many_at_once", 1)
        assert isinstance(await pipeline.serve(tool("echo", channel=Channel("other"))), Completed)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert isinstance(await pipeline.serve(tool("echo")), Completed)
        assert [label for _, _, label in told.calls] == ["rejected", "ok", "failed", "ok"]


async def test_a_client_that_hangs_up_ends_its_call() -> None:
    gate, gone = asyncio.Event(), asyncio.Event()
    async with one(None, gate) as (pipeline, told):
        channel = Channel()

        async def hung_up() -> None:
            await gone.wait()

        channel.hung_up = hung_up
        task = asyncio.create_task(pipeline.serve(tool("waits", channel=channel)))
        await gate.wait()
        gone.set()
        assert await task == Cancelled("disconnected")
        assert [label for _, _, label in told.calls] == ["cancelled"]


async def test_a_call_of_a_conversation_is_cancelled_by_its_id() -> None:
    gate = asyncio.Event()
    async with one(None, gate) as (pipeline, _):
        channel = Channel(conversation="c")
        task = asyncio.create_task(pipeline.serve(tool("waits", channel=channel, request_id="x")))
        await gate.wait()
        for conversation, request_id in (("other", "x"), ("c", "y"), ("c", "x")):
            assert not task.done()
            notification = msgspec.Raw(msgspec.json.encode({"requestId": request_id}))
            await pipeline.runtime.notified(Notification("notifications/cancelled", notification), conversation)
        assert await task == Cancelled("cancelled")
        assert channel.silent


async def test_a_call_that_takes_too_long_is_ended() -> None:
    gate = asyncio.Event()
    async with one(limits(call_timeout_s=0), gate) as (pipeline, _):
        outcome = await pipeline.serve(tool("waits"))
        assert isinstance(outcome, Failed)
        assert outcome.error.message == "The call took too long"


async def test_who_calls_too_fast_waits_and_others_do_not() -> None:
    now = [0.0]
    rate = RateLimiter(1, lambda: now[0])
    async with one(limits(rate=rate, messages=RateLimiter(1, lambda: now[0]))) as (pipeline, told):
        outcomes = [await pipeline.serve(tool("echo")) for _ in range(8)]
        assert isinstance(outcomes[0], Completed)
        assert outcomes[-1] == Limited("too_fast", 1)
        assert pipeline.would_refuse("one", "tools/call") == Limited("too_fast", 1)
        assert pipeline.would_refuse("other", "tools/call") is None
        assert pipeline.would_refuse("one", "ping") is None
        lists = [await pipeline.serve(call("tools/list")) for _ in range(8)]
        assert lists[-1] == Limited("too_fast", 1)
        assert pipeline.would_refuse("one", "ping") == Limited("too_fast", 1)
        assert isinstance(await pipeline.serve(call("tools/list"), counted=True), Completed)
        assert isinstance(await pipeline.serve(tool("echo", channel=Channel("other"))), Completed)
        assert {line.reason for line, _, label in told.calls if label == "rejected"} == {"too_fast"}


async def test_it_is_foreseen_that_there_is_no_place() -> None:
    gate, bounds = asyncio.Event(), limits(calls=ConcurrencyLimiter(1))
    async with one(bounds, gate) as (pipeline, _):
        task = asyncio.create_task(pipeline.serve(tool("waits")))
        await gate.wait()
        assert pipeline.would_refuse("one", "tools/call") == Limited("too_many_at_once", 1)
        assert pipeline.would_refuse("other", "tools/call") is None
        assert pipeline.load() == Load(calls=1, streams=0, tasks=0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_there_are_only_so_many_streams() -> None:
    asked = call("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
    async with serving(made(), subscriptions=SubscriptionLimits(1, 10)) as (pipeline, told):
        first = await pipeline.serve(asked)
        assert isinstance(first, Subscribed)
        assert await pipeline.serve(asked) == Limited("too_many_streams", 5)
        assert pipeline.load() == Load(calls=0, streams=1, tasks=0)
        pipeline.runtime.listeners.remove(first.subscription)
        assert isinstance(await pipeline.serve(asked), Subscribed)
        assert [line.reason for line, _, _ in told.calls] == ["", "too_many_streams", ""]


async def test_a_question_ends_the_round_and_its_answer_goes_on() -> None:
    server = made()

    @server.tool(scopes={"mcp:read"})
    async def ask(ctx: Context) -> str:
        return (await ctx.elicit("Sure?", Yes)).action

    params: dict[str, Any] = {"name": "ask", "arguments": {}}
    async with serving(server) as (pipeline, told):
        lacking = await pipeline.serve(call("tools/call", params))
        assert isinstance(lacking, Failed)
        assert lacking.error.code == -32021
        able = call("tools/call", params, capabilities={"elicitation": {}})
        asked = await pipeline.serve(able)
        assert isinstance(asked, NeedsInput)
        result = answer(asked)["result"]
        (key,) = result["inputRequests"]
        again = params | {"requestState": result["requestState"], "inputResponses": {key: {"action": "decline"}}}
        done = await pipeline.serve(call("tools/call", again, capabilities={"elicitation": {}}))
        assert answer(done)["result"]["content"][0]["text"] == "decline"
        other = await pipeline.serve(
            call("tools/call", again, capabilities={"elicitation": {}}, who=principal(subject="eve"))
        )
        assert isinstance(other, Failed)
        assert [label for _, _, label in told.calls] == ["rejected", "ok", "ok", "rejected"]


async def test_what_a_call_needs_is_told_to_its_stream() -> None:
    server = made()

    @server.tool(scopes={"mcp:read"})
    async def speaks(ctx: Context) -> str:
        await ctx.progress(1)
        return "spoken"

    async with serving(server) as (pipeline, _):
        channel = Channel(conversation="c")
        await pipeline.serve(tool("speaks", channel=channel))
        assert channel.needed == frozenset({"mcp:read"})


async def test_a_store_that_is_away_at_the_start_of_a_session_is_said() -> None:
    class Away(InMemoryBackend):
        async def get(self, key: str, renew_s: float | None = None) -> bytes | None:
            raise StoreUnavailable(key)

    async with serving(made(), None, Away()) as (pipeline, told):
        asked = call("tasks/get", {"taskId": "t"}, capabilities={"extensions": {"io.modelcontextprotocol/tasks": {}}})
        assert isinstance(await pipeline.serve(asked), Failed | Unavailable)
        assert len(told.calls) == 1


async def test_who_waits_for_a_silent_call_is_told_once_that_it_goes_on() -> None:
    gate, channel = asyncio.Event(), Channel()
    channel.quiet_s = 0
    async with one(None, gate) as (pipeline, _):
        task = asyncio.create_task(pipeline.serve(tool("waits", channel=channel)))
        async with asyncio.timeout(60):
            await channel.stayed.wait()
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_client_that_cannot_be_told_ends_nothing() -> None:
    gate, channel = asyncio.Event(), Channel()
    channel.quiet_s = 0
    told = asyncio.Event()

    async def fails() -> None:
        told.set()
        raise ConnectionResetError

    channel.stay_open = fails  # type: ignore[method-assign]
    async with one(None, gate) as (pipeline, _):
        task = asyncio.create_task(pipeline.serve(tool("waits", channel=channel)))
        async with asyncio.timeout(60):
            await told.wait()
        await asyncio.sleep(0)
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
