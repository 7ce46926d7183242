"""What a call needs by now: asked of handlers, of rounds, of streams that stay open, and of the next login."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mcp_server import Context, McpServer, NeedsScopes, Scope
from mcp_server.engine.outcome import Subscribed
from mcp_server.sessions.event_log import StreamAccess
from mcp_server.stdio import transport
from tests.kit import wire
from tests.kit.calls import call, serving
from tests.kit.inside import Inside, caller, inside

ran: list[Any] = []


async def test_on_a_desktop_a_handler_finds_what_it_would_ask_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And where it asks all the same, it is its own no: it does not run on."""
    server = McpServer("s", scopes=[Scope("mcp:read"), Scope("x:late")])

    @server.tool(scopes={"mcp:read"})
    async def late(wanted: str, ctx: Context) -> str:
        if ctx.principal is None or wanted not in ctx.principal.scopes:
            raise NeedsScopes({wanted})
        return "done"

    async with inside(server, tmp_path, monkeypatch) as running:
        running.who = transport.desktop_user(transport.desktop_scopes(server, frozenset({"mcp:read"})))
        for wanted, part in (("x:late", "done"), ("mcp:write", "could not be told")):
            message = wire.modern("tools/call", {"name": "late", "arguments": {"wanted": wanted}})
            assert part in str((await running.pipe(message, wire.MODERN)).body)


async def test_a_demand_after_a_single_use_answer_begins_anew_and_acts_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is used up, for nobody but the handler knows what it did before it asked for more.

    So the same answer, with the scope, does nothing; asked anew, the handler acts, and then neither answer acts again.
    """
    server = McpServer("orders", scopes=[Scope("mcp:read"), Scope("mcp:write")])

    @server.tool(scopes={"mcp:read"}, single_use=True)
    async def pay(ctx: Context) -> str:
        await ctx.elicit("Really?", Sure)
        if ctx.principal is None or "mcp:write" not in ctx.principal.scopes:
            raise NeedsScopes({"mcp:write"})
        ran.append("paid")
        return "paid"

    async def asked(running: Inside) -> dict[str, Any]:
        result = (await running.post(_paying(), **wire.headers("tools/call", "pay"))).body["result"]
        (key,) = result["inputRequests"]
        given = {key: {"action": "accept", "content": {"yes": True}}}
        return _paying(requestState=result["requestState"], inputResponses=given)

    ran.clear()
    named = wire.headers("tools/call", "pay")
    async with inside(server, tmp_path, monkeypatch) as running:
        running.who = caller(["mcp:read"])
        first = await asked(running)
        refused = await running.post(first, **named)
        assert (refused.status, "mcp:write" in refused.challenge) == (403, True)
        running.who = caller(["mcp:read", "mcp:write"])
        assert (await running.post(first, **named)).body["error"]["code"] == -32602
        assert ran == []
        second = await asked(running)
        assert (await running.post(second, **named)).body["result"]["content"][0]["text"] == "paid"
        for again in (first, second):
            assert (await running.post(again, **named)).body["error"]["code"] == -32602
        assert ran == ["paid"]


class Sure(msgspec.Struct):
    yes: bool


def _paying(**more: Any) -> dict[str, Any]:
    message = wire.modern("tools/call", {"name": "pay", "arguments": {}, **more})
    message["params"]["_meta"][f"{wire.PREFIX}clientCapabilities"] = {"elicitation": {"form": {}}}
    return message


@pytest.mark.parametrize("declared", [(), ("mcp:read", "x:a", "x:b", "x:c", "x:late")])
async def test_a_legacy_client_is_named_again_what_functions_and_handlers_named(
    declared: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its next token has what the challenge names and no more: with `x:b` it would have lost `x:a`."""
    server = McpServer("s", scopes=[Scope(name) for name in declared])

    @server.tool(scopes=lambda values, _: {f"x:{values['part']}"})
    async def part(part: str) -> str:
        return part

    @server.tool(scopes={"mcp:read"})
    async def late() -> str:
        raise NeedsScopes({"x:late"})

    async with inside(server, tmp_path, monkeypatch) as running:
        running.who = caller(["mcp:read", "x:a", "openid", "profile", "offline_access"])
        for name, arguments, new in (("part", {"part": "b"}, "x:b"), ("late", {}, "x:late")):
            message = wire.legacy("tools/call", {"name": name, "arguments": arguments})
            refused = await running.post(message, mcp_protocol_version="2025-11-25")
            assert (refused.status, refused.scopes()) == (403, {"mcp:read", "x:a", new})


async def test_what_only_handlers_name_is_named_again_where_it_is_declared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = McpServer("s", scopes=[Scope(name) for name in ("mcp:read", "x:a", "x:b")])

    @server.tool(scopes={"mcp:read"})
    async def late() -> str:
        raise NeedsScopes({"x:b"})

    async with inside(server, tmp_path, monkeypatch) as running:
        running.who = caller(["mcp:read", "x:a", "of:another"])
        message = wire.legacy("tools/call", {"name": "late", "arguments": {}})
        refused = await running.post(message, mcp_protocol_version="2025-11-25")
        assert refused.scopes() == {"mcp:read", "x:a", "x:b"}


async def test_an_open_stream_asks_what_is_needed_by_now() -> None:
    """The registry changes while streams are open, and while they are kept for who comes back."""
    server, who = McpServer("s"), caller(["mcp:read"])

    def offer(scope: str) -> None:
        @server.resource("note://1", scopes={scope})
        async def note() -> str:
            return "note"

        @server.tool("write", scopes={scope})
        async def write() -> str:
            return "written"

    offer("mcp:read")
    async with serving(server) as (pipeline, _):
        wanted = {"notifications": {"resourceSubscriptions": ["note://1"]}}
        outcome = await pipeline.serve(call("subscriptions/listen", wanted, who=who))
        assert isinstance(outcome, Subscribed)
        stream = outcome.subscription
        kept = StreamAccess().also(frozenset({"mcp:read"}), ("tools/call", "write"))
        for scope, told in (("mcp:read", 1), ("mcp:admin", 0), ("mcp:read", 1)):
            server.remove_resource("note://1")
            server.remove_tool("write")
            assert not pipeline.runtime.policy.may_come_back(who)(kept)
            offer(scope)
            server.resource_updated("note://1")
            async with asyncio.timeout(60):
                assert len(await stream.next()) == told
            assert pipeline.runtime.policy.may_come_back(who)(kept) is bool(told)
        assert not pipeline.runtime.policy.may_come_back(caller([]))(kept)
        of_others = (
            StreamAccess()
            .also(frozenset(), ("completion/complete", ""))
            .also(frozenset(), ("resources/read", "note://1"))
        )
        assert pipeline.runtime.policy.may_come_back(who)(of_others)
        pipeline.runtime.listeners.remove(stream)
