"""A batch of 2025-03-26 has one stream: who comes back to it must hold what every item of it needed."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mcp_server import Context, McpServer
from tests.kit import wire
from tests.kit.servers.streams import legacy_call, session
from tests.kit.stack import Stack, running_stack

server = McpServer("batches")


@server.tool(scopes={"mcp:read"})
async def plain(ctx: Context) -> str:
    """Speak, then answer."""
    await ctx.progress(1)
    return "plain"


@server.tool(scopes={"mcp:admin"})
async def secret(ctx: Context) -> str:
    """Speak, then answer what administrators may know."""
    await ctx.progress(1)
    return "the salaries"


@pytest.fixture(scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with running_stack(Path(tmp_path_factory.mktemp("batches")), server) as running:
        yield running


@pytest.mark.parametrize("order", [("plain", "secret"), ("secret", "plain")])
async def test_a_narrower_token_does_not_resume_what_a_wider_one_was_told(stack: Stack, order: tuple[str, str]) -> None:
    wide, narrow = await stack.token("carol", "mcp:read mcp:admin"), await stack.token("carol", "mcp:read")
    mine = await session(stack, wide, "2025-03-26")
    batch = [legacy_call(tool, {}, number, progressToken=tool) for number, tool in enumerate(order)]
    async with stack.open(batch, wide, **mine) as (_, events):
        seen = [event async for event in events]
    assert "the salaries" in seen[-1]["data"]
    async with stack.open(None, wide, last_event_id=seen[0]["id"], **mine) as (_, events):
        assert "the salaries" in "".join([event.get("data", "") async for event in events])
    async with stack.open(None, narrow, last_event_id=seen[0]["id"], **mine) as (_, events):
        server.list_changed("tools")  # it is the session's own stream, on which nothing else is told
        first = await anext(event["data"] async for event in events if "data" in event)
        assert "list_changed" in first


@pytest.mark.parametrize("order", [("plain", "report"), ("report", "plain")])
async def test_who_comes_back_is_asked_what_every_item_needs_by_now(stack: Stack, order: tuple[str, str]) -> None:
    """Of an item, too, that ran after another had spoken: the stream was there already."""
    _offer({"mcp:read"})
    token, mine, seen = await _told(stack, order)
    assert "the salaries" in seen[-1]["data"]
    assert "the salaries" in await _resumed(stack, token, mine, seen[0]["id"])
    for scopes in ({"mcp:admin"}, None):
        server.remove_tool("report")
        if scopes:
            _offer(scopes)
        assert "the salaries" not in await _resumed(stack, token, mine, seen[0]["id"])


async def test_what_nobody_could_ask_of_before_is_not_kept(stack: Stack) -> None:
    """An item may call what was not there when the batch came: the stream's head does not name it."""
    token, mine, seen = await _told(stack, ("opens", "report"))
    assert "the salaries" in seen[-1]["data"]
    assert "id" not in seen[-1]
    assert "the salaries" not in await _resumed(stack, token, mine, seen[0]["id"])
    server.remove_tool("report")


def _offer(scopes: set[str]) -> None:
    @server.tool("report", scopes=scopes)
    async def report(ctx: Context) -> str:
        await ctx.progress(1)
        return "the salaries"


@server.tool(scopes={"mcp:read"})
async def opens(ctx: Context) -> str:
    """Speak, then offer a tool."""
    await ctx.progress(1)
    _offer({"mcp:read"})
    return "opened"


async def _told(stack: Stack, order: tuple[str, str]) -> tuple[str, dict[str, str], list[dict[str, str]]]:
    token = await stack.token("carol", "mcp:read")
    mine = await session(stack, token, "2025-03-26")
    batch = [legacy_call(tool, {}, number, progressToken=tool) for number, tool in enumerate(order)]
    async with stack.open(batch, token, **mine) as (_, events):
        return token, mine, [event async for event in events]


async def _resumed(stack: Stack, token: str, mine: dict[str, str], last: str) -> str:
    """What a stream tells who comes back, up to its end, or else to what the session's own stream tells."""
    found = ""
    async with stack.open(None, token, last_event_id=last, **mine) as (_, events):
        server.list_changed("tools")
        async for event in events:
            found += event.get("data", "")
            if "list_changed" in found:
                break
    return found


async def test_each_item_has_a_line_and_a_time_of_its_own(stack: Stack) -> None:
    token = await stack.token("alice", "mcp:read")
    batch = [wire.legacy("ping", request_id=1), legacy_call("plain", {}, 2), {"jsonrpc": "2.0", "id": 3}]
    before = len(stack.audited())
    answer = await stack.post(batch, token, mcp_protocol_version="2025-03-26")
    assert [one["id"] for one in answer.json()] == [1, 2, 3]
    lines = stack.audited()[before:]
    assert [one.get("method", "") for one in lines] == ["ping", "tools/call", ""]
    assert [one["decision"] for one in lines] == ["allow", "allow", "deny"]
