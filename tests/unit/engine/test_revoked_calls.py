"""A call that runs ends with its token: on both eras, over HTTP and on a pipe; its handler's answer is told nobody."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mcp_server import Context, McpServer
from mcp_server.engine.limiting import CallLimits, StatedLimits
from mcp_server.engine.outcome import Completed, Denied
from mcp_server.limits.limiter import Limiter
from mcp_server.limits.rule import read
from mcp_server.stdio.transport import Connection
from mcp_server.store.revocations import EVER, Kind, Revocation
from tests.kit import calls, wire
from tests.kit.backends import settle
from tests.kit.calls import limits, serving
from tests.kit.inside import Inside, Said, caller, inside

ALICE = msgspec.structs.replace(caller({"mcp:read"}), sid="s1", client_id="portal", jti="j1", token_digest="a" * 16)
BOB = msgspec.structs.replace(ALICE, subject="bob", sid="s2", client_id="other", jti="j2", token_digest="b" * 16)
NAMES: dict[Kind, str] = {"sid": "s1", "sub": "user", "client": "portal", "jti": "j1", "token": "a" * 16}


def over(kind: Kind = "sid", issuer: str = ALICE.issuer) -> Revocation:
    return Revocation(issuer=issuer, kind=kind, name=NAMES[kind], before=EVER, until=time.time() + 60)


class Work:
    """Handlers that wait, and how they ended."""

    def __init__(self) -> None:
        self.gate, self.begun = asyncio.Event(), asyncio.Event()
        self.ended: list[str] = []

    def server(self) -> McpServer:
        made = McpServer("over")

        @made.tool()
        async def waits(how: str, ctx: Context) -> str:
            """Wait for the gate."""
            if how == "speaks":
                await ctx.log("warning", "spoken")
            self.begun.set()
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                self.ended.append(how)
                if how != "swallows":
                    raise
            return "a secret"

        return made


def call(who: Any, how: str = "waits") -> Any:
    return calls.call("tools/call", {"name": "waits", "arguments": {"how": how}}, who=who)


async def revoked(work: Work, telling: Any, one: Revocation) -> None:
    async with asyncio.timeout(60):
        await work.begun.wait()
    await settle()
    telling.take(one)


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("how", ["waits", "swallows"])
async def test_a_running_call_ends_with_its_token_and_others_go_on(kind: Kind, how: str) -> None:
    work = Work()
    async with serving(work.server(), limits()) as (pipeline, told):
        running = asyncio.create_task(pipeline.serve(call(ALICE, how)))
        other = asyncio.create_task(pipeline.serve(call(BOB)))
        revocations = pipeline.runtime.revocations
        await revoked(work, revocations, over(kind, "https://another"))
        await settle()
        assert not running.done()
        revocations.take(over(kind))
        async with asyncio.timeout(60):
            outcome = await running
        assert outcome == Denied(frozenset(), anonymous=False, ended=True, ran=True)
        assert work.ended == [how]
        ((line, _, label),) = told.calls
        assert (line.decision, line.reason, line.subject, label) == ("allow", "session_ended", "user", "cancelled")
        assert line.seconds is not None
        work.gate.set()
        assert isinstance(await other, Completed)
        assert not pipeline._limits.calls.holders
        assert not len(pipeline._supervisors)


async def test_a_call_whose_token_was_revoked_on_its_way_does_not_begin_and_counts_for_nothing() -> None:
    """While its body came, or the store was asked about its limits: its token had been judged before."""
    work, stated = Work(), CallLimits(StatedLimits(everywhere=(read("1/day"),)), Limiter())
    async with serving(work.server(), limits(stated=stated)) as (pipeline, _):
        pipeline.runtime.revocations.take(over())
        outcome = await pipeline.serve(call(ALICE))
        assert isinstance(outcome, Denied)
        assert not work.begun.is_set()
        work.gate.set()
        assert isinstance(await pipeline.serve(call(BOB)), Completed)


@asynccontextmanager
async def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Inside, Work]]:
    work = Work()
    async with inside(work.server(), tmp_path, monkeypatch) as made:
        made.who = ALICE
        yield made, work


def message(modern: bool, how: str) -> tuple[dict[str, Any], dict[str, str]]:
    params = {"name": "waits", "arguments": {"how": how}}
    if modern:
        params["_meta"] = {}
        return wire.modern("tools/call", params), wire.headers("tools/call", "waits")
    return wire.legacy("tools/call", params), {"mcp_protocol_version": "2025-11-25"}


@pytest.mark.parametrize("modern", [True, False])
async def test_over_http_it_is_a_401(modern: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(tmp_path, monkeypatch) as (made, work):
        body, headers = message(modern, "waits")
        running = asyncio.create_task(made.post(body, **headers))
        await revoked(work, made.plugin.runtime.revocations, over())
        reply = await running
        assert reply.status == 401
        assert 'error="invalid_token"' in reply.challenge
        assert "secret" not in json.dumps(reply.body)
        ended = [line for line in made.audited() if line["decision"] != "begun"]
        assert [(line["decision"], line["reason"]) for line in ended] == [("allow", "session_ended")], (
            "it may have acted"
        )


async def test_where_the_answer_has_begun_the_model_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(tmp_path, monkeypatch) as (made, work):
        body, headers = message(True, "speaks")
        body["params"]["_meta"]["io.modelcontextprotocol/logLevel"] = "info"
        running = asyncio.create_task(made.post(body, **headers))
        await revoked(work, made.plugin.runtime.revocations, over())
        reply = await running
        assert reply.status == 200
        assert reply.body["result"]["isError"] is True
        assert reply.body["result"]["content"][0]["text"] == "the session has ended; sign in again"


@pytest.mark.parametrize("revision", [wire.MODERN, "2025-11-25"])
async def test_on_a_pipe_it_is_an_error_and_so_is_what_follows(
    revision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(tmp_path, monkeypatch) as (made, work):
        said = Said()
        connection = Connection(made.pipeline, ALICE, said)
        if revision != wire.MODERN:
            opening = wire.INITIALIZE | {"protocolVersion": revision}
            await connection.take(json.dumps(wire.legacy("initialize", opening)).encode())
            await said.answer()
        streams = list(made.pipeline.runtime.listeners)
        assert len(streams) == (revision != wire.MODERN)
        body, _ = message(revision == wire.MODERN, "waits")
        await connection.take(json.dumps(body).encode())
        await revoked(work, made.pipeline.runtime.revocations, over())
        assert (await said.answer())["error"]["message"] == "the session has ended; sign in again"
        listing = (wire.modern if revision == wire.MODERN else wire.legacy)("tools/list", {}, 2)
        await connection.take(json.dumps(listing).encode())
        assert (await said.answer())["error"]["message"] == "the session has ended; sign in again"
        assert all(stream.ended for stream in streams)
        await connection.close()
