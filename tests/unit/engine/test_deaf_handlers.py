"""Handlers that swallow their cancellation: cancelled again and told of, their callers answered, their slots kept."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mcp_server.engine import pipeline as pipelines
from mcp_server.engine import supervisor
from mcp_server.engine.drain import Drain, DrainTimes
from mcp_server.engine.outcome import Cancelled, Completed, Denied, Failed, Outcome
from mcp_server.engine.pipeline import Pipeline
from mcp_server.engine.supervisor import CallSupervisors
from mcp_server.limits import cancellation
from mcp_server.limits.concurrency import ConcurrencyLimiter
from mcp_server.protocol.jsonrpc import Notification
from mcp_server.stdio.transport import Connection
from mcp_server.store.revocations import EVER, Revocation
from tests.kit import wire
from tests.kit.backends import settle
from tests.kit.calls import Channel, RememberingRecorder, call, limits, serving
from tests.kit.deaf import CALL, GOES_ON, Deaf
from tests.kit.deaf import soon as in_time
from tests.kit.inside import Inside, Said, caller, inside, post
from tests.kit.logs import logged
from tests.kit.principals import principal


@pytest.fixture(autouse=True)
async def soon(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    async with in_time(monkeypatch):
        yield


@asynccontextmanager
async def running(
    deaf: Deaf, channel: Channel, **bounds: Any
) -> AsyncIterator[tuple[Pipeline, RememberingRecorder, asyncio.Task[Outcome], CallSupervisors]]:
    supervisors = CallSupervisors()
    async with serving(deaf.server, limits(**bounds), supervisors=supervisors) as (pipeline, told):
        answered = asyncio.create_task(pipeline.serve(call("tools/call", CALL, channel=channel)))
        try:
            await deaf.begun.wait()
            yield pipeline, told, answered, supervisors
        finally:
            deaf.freed.set()
            await answered


async def end(reason: str, pipeline: Pipeline, supervisors: CallSupervisors) -> None:
    match reason:
        case "cancelled":
            params = msgspec.Raw(msgspec.json.encode({"requestId": 1}))
            await pipeline.runtime.notified(Notification("notifications/cancelled", params), "c")
        case "revoked":
            who, until = principal(), time.time() + 60
            ended = Revocation(kind="sub", issuer=who.issuer, name=who.subject, before=EVER, until=until)
            pipeline.runtime.revocations.take(ended)
        case "stopping":
            drain = Drain(pipeline.runtime, supervisors)
            drain.begin(DrainTimes(lame_duck_s=0, calls_s=0), lambda: None, lambda: None)


@pytest.mark.parametrize("reason", ["timed_out", "cancelled", "revoked", "stopping"])
async def test_whatever_ends_a_call_its_caller_is_answered_and_its_handler_cancelled_again(reason: str) -> None:
    deaf, channel = Deaf(), Channel(conversation="c")
    with logged() as lines:
        timeout_s = 0.01 if reason == "timed_out" else 60
        async with running(deaf, channel, call_timeout_s=timeout_s) as (pipeline, told, answered, supervisors):
            await end(reason, pipeline, supervisors)
            for _ in range(3):
                await deaf.cancelled.acquire()
            [early] = channel.answered_for
            match reason:
                case "cancelled":
                    assert early == Cancelled("cancelled")
                case "revoked":
                    assert isinstance(early, Denied)
                    assert early.ended
                case _:
                    assert isinstance(early, Failed)
            assert not answered.done()
            assert len(told.calls) == 1
    assert len(told.calls) == 1
    found = [line for line in lines if line["text"] == GOES_ON]
    assert [(one["name"], one["reason"], one["times"]) for one in found][:2] == [
        ("deaf", reason, 1),
        ("deaf", reason, 2),
    ]


async def test_what_was_answered_for_is_not_said_to_begin_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody would take its name back, and another call may have the same `id`."""
    monkeypatch.setattr(supervisor, "GRACE_S", 0.001)
    monkeypatch.setattr(pipelines, "LONG_S", 0.05)
    deaf = Deaf(reads=True)
    async with running(deaf, Channel(), call_timeout_s=0.01) as (pipeline, told, answered, _):
        for _ in range(5):  # the last one comes after LONG_S
            await deaf.cancelled.acquire()
        assert len(told.calls) == 1
        assert not answered.done()
    assert not pipeline._begun
    assert not pipeline._answered_for


async def test_slots_come_back_with_the_real_end_and_not_before() -> None:
    deaf, slots = Deaf(), ConcurrencyLimiter(1)
    async with running(deaf, Channel(conversation="c"), calls=slots, call_timeout_s=0.01) as (pipeline, _, answered, _):
        await deaf.cancelled.acquire()
        await deaf.cancelled.acquire()
        assert not slots.has_room("one")
        assert not isinstance(await pipeline.serve(call("tools/call", CALL, request_id=2)), Completed)
        deaf.freed.set()
        await answered
        assert slots.has_room("one")


async def test_it_is_cancelled_so_often_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancellation, "AGAIN_S", 0.0)
    deaf = Deaf()
    async with running(deaf, Channel(), call_timeout_s=0.01) as (_, _, answered, supervisors):
        for _ in range(cancellation.MOST):
            await deaf.cancelled.acquire()
        await settle()
        assert deaf.cancelled.locked()
        assert len(supervisors) == 1
        assert not answered.done()


async def test_one_that_heeds_the_second_cancellation_leaves_its_task_as_it_was() -> None:
    deaf, before = Deaf(swallows=1), asyncio.current_task()
    assert before is not None
    async with serving(deaf.server, limits(call_timeout_s=0.01)) as (pipeline, told):
        outcome = await pipeline.serve(call("tools/call", CALL))
        assert isinstance(outcome, Failed)
        assert before.cancelling() == 0
        assert len(told.calls) == 1
        assert isinstance(await pipeline.serve(call("ping", revision="2025-11-25")), Completed)


@pytest.mark.parametrize("swallows", [1, 1_000_000])
async def test_what_a_batch_waits_for_has_one_line_and_is_told_what_that_says(swallows: int) -> None:
    deaf = Deaf(swallows)
    async with running(deaf, Channel(), call_timeout_s=0.01) as (_, told, answered, _):
        for _ in range(2):
            await deaf.cancelled.acquire()
        assert len(told.calls) == 1
        deaf.freed.set()
        assert isinstance(await answered, Failed)
    assert len(told.calls) == 1


@asynccontextmanager
async def posting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deaf: Deaf, *, modern: bool = True
) -> AsyncIterator[tuple[Inside, list[dict[str, Any]], asyncio.Task[None]]]:
    """A POST whose token ends while its handler goes on."""
    async with inside(deaf.server, tmp_path, monkeypatch) as served:
        served.who = msgspec.structs.replace(caller({"mcp:read"}), sid="s1")
        sent: list[dict[str, Any]] = []
        body = (wire.modern if modern else wire.legacy)("tools/call", {**CALL, "_meta": {}})
        body["params"]["_meta"]["progressToken"] = 1
        fields = wire.headers("tools/call", "deaf") if modern else {"mcp_protocol_version": "2025-11-25"}
        request = asyncio.create_task(post(served.plugin, body, sent, **fields))
        await deaf.begun.wait()
        until = time.time() + 60
        ended = Revocation(kind="sid", issuer=served.who.issuer, name="s1", before=EVER, until=until)
        served.plugin.runtime.revocations.take(ended)
        for _ in range(2):
            await deaf.cancelled.acquire()
        yield served, sent, request
        deaf.freed.set()
        await request


@pytest.mark.parametrize("modern", [True, False])
async def test_over_http_it_is_answered_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, modern: bool) -> None:
    async with posting(tmp_path, monkeypatch, Deaf(), modern=modern) as (served, sent, request):
        whole = list(sent)
        assert not request.done()
        assert [line["reason"] for line in served.audited()] == ["session_ended"]
    assert sent == whole
    assert [one["type"] for one in whole] == ["http.response.start", "http.response.body"]
    assert whole[0]["status"] == 401
    assert served.audited() == []


async def test_where_its_stream_is_open_that_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deaf = Deaf(speaks=True)
    async with posting(tmp_path, monkeypatch, deaf) as (_, sent, request):
        whole = list(sent)
        assert not request.done()
    assert sent == whole
    assert whole[0]["status"] == 200
    assert [one["more_body"] for one in whole[1:]] == [True, False]
    assert b"the session has ended" in whole[-1]["body"]


@pytest.mark.parametrize("speaks", [True, False])
async def test_to_a_client_that_has_gone_nothing_is_sent_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, speaks: bool
) -> None:
    """A stream that began now would have its comments for ever: its request ends without it."""
    deaf, gone, sent = Deaf(speaks=speaks), asyncio.Event(), list[dict[str, Any]]()
    monkeypatch.setattr(supervisor, "GRACE_S", 0.001)
    async with inside(deaf.server, tmp_path, monkeypatch, keep_alive_s="0.1") as served:
        served.who = caller({"mcp:read"})
        body = wire.modern("tools/call", {**CALL, "_meta": {}})
        body["params"]["_meta"]["progressToken"] = 1
        request = asyncio.create_task(post(served.plugin, body, sent, gone, **wire.headers("tools/call", "deaf")))
        await deaf.begun.wait()
        gone.set()
        for _ in range(2):  # it is answered for between the two
            await deaf.cancelled.acquire()
        heard = list(sent)
        for _ in range(cancellation.MOST - 2):  # past the time of a comment
            await deaf.cancelled.acquire()
        deaf.freed.set()
        await request
    assert sent == heard


@pytest.mark.parametrize("batch", [False, True])
async def test_at_the_end_of_a_pipe_each_call_has_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, batch: bool
) -> None:
    """Its client has gone: nothing has failed, and nothing of a batch begins any more."""
    deaf, waits = Deaf(), asyncio.Event()

    @deaf.server.tool()
    async def heeds() -> str:
        waits.set()
        await asyncio.Event().wait()
        return ""

    async with inside(deaf.server, tmp_path, monkeypatch) as served:
        connection = Connection(served.pipeline, caller({"mcp:read"}), Said())
        calls = [wire.legacy("tools/call", {"name": name, "arguments": {}}, name) for name in ("deaf", "heeds")]
        if batch:
            opening = wire.INITIALIZE | {"protocolVersion": "2025-03-26"}
            await connection.take(json.dumps(wire.legacy("initialize", opening, "first")).encode())
            await settle()
            served.audited()
        for message in [calls] if batch else calls:
            await connection.take(json.dumps(message).encode())
        await deaf.begun.wait()
        if not batch:
            await waits.wait()
        await connection.close()
        lines = [(line["tool"], line["reason"]) for line in served.audited() if line["decision"] != "begun"]
        assert sorted(lines) == [(name, "cancelled") for name in (("deaf",) if batch else ("deaf", "heeds"))]
        deaf.freed.set()
        await asyncio.gather(*connection._tasks, return_exceptions=True)
        assert served.audited() == []
    assert not (batch and waits.is_set())


async def test_on_a_pipe_it_is_answered_once_and_the_end_of_the_pipe_waits_for_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaf = Deaf()
    async with inside(deaf.server, tmp_path, monkeypatch) as served:
        who, said = msgspec.structs.replace(caller({"mcp:read"}), sid="s1"), Said()
        connection = Connection(served.pipeline, who, said)
        await connection.take(json.dumps(wire.modern("tools/call", CALL)).encode())
        await deaf.begun.wait()
        ended = Revocation(kind="sid", issuer=who.issuer, name="s1", before=EVER, until=time.time() + 60)
        served.pipeline.runtime.revocations.take(ended)
        assert (await said.answer())["error"]["message"] == "the session has ended; sign in again"
        await connection.close()
        assert not deaf.ended.is_set()
        [left] = connection._tasks
        deaf.freed.set()
        await left
        assert said._lines.empty()
