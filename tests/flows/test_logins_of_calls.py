"""A call that wants a recent or a strong login (RFC 9470): tools, resources and prompts, on both transports."""

import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mcp_server import Context, McpServer
from mcp_server.stdio import transport
from tests.kit import wire
from tests.kit.inside import Inside, Reply, caller, inside

ran: list[Any] = []
TRANSFER = wire.modern("tools/call", {"name": "transfer", "arguments": {}})


async def post(running: Inside, name: str) -> Reply:
    message = wire.modern("tools/call", {"name": name, "arguments": {}})
    return await running.post(message, **wire.headers("tools/call", name))


async def test_a_login_that_is_too_old_or_too_weak_is_challenged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = McpServer("logins")

    @server.tool("transfer", scopes={"mcp:write"}, fresh=60, acr=("2", "3"))
    async def transfer() -> str:
        ran.append("transfer")
        return "done"

    @server.resource("vault://gold", scopes={"mcp:write"}, acr="2", name="gold")
    async def gold() -> str:
        return "gold"

    @server.prompt("plea", fresh=0)
    async def plea(tone: str = "") -> str:
        return "please"

    ran.clear()
    now, sent = time.time(), wire.modern("resources/read", {"uri": "vault://gold"})
    async with inside(server, tmp_path, monkeypatch) as running:
        for who, status, asked in (
            (caller(["mcp:write"], auth_time=now, acr="2"), 200, ""),
            (caller(["mcp:write"], auth_time=now - 100, acr="3"), 401, 'acr_values="2 3", max_age="60"'),
            (caller(["mcp:write"], auth_time=now, acr="1"), 401, 'acr_values="2 3", max_age="60"'),
            (caller(["mcp:read"], auth_time=now, acr="1"), 401, 'scope="mcp:read mcp:write"'),  # all by one login
            (caller(["mcp:read"], auth_time=now, acr="2"), 403, 'error="insufficient_scope"'),
        ):
            running.who = who
            answer = await post(running, "transfer")
            assert (answer.status, asked in answer.challenge) == (status, True), answer
            assert ('error="insufficient_user_authentication"' in answer.challenge) == (status == 401)
        reasons = ["insufficient_user_authentication"] * 3 + ["insufficient_scope"]
        assert [one.get("reason", "") for one in running.audited()] == ["", *reasons]
        assert ran == ["transfer"]
        running.who = caller(["mcp:write", "mcp:read"], auth_time=now - 100, acr="1")
        read = await running.post(sent, **wire.headers("resources/read", "vault://gold"))
        assert (read.status, 'acr_values="2"' in read.challenge, "max_age" in read.challenge) == (401, True, False)
        given = await running.post(wire.modern("prompts/get", {"name": "plea"}), **wire.headers("prompts/get", "plea"))
        assert (given.status, 'max_age="0"' in given.challenge) == (401, True)
        piped = await running.pipe(TRANSFER, wire.MODERN)
        assert piped.body["error"] == {"code": -31001, "message": "a more recent or a stronger login is required"}
        stranger = await _as(running, None, "transfer")
        assert (stranger.status, "max_age" in stranger.challenge) == (401, False)
        desktop = transport.desktop_user(server.declared_scopes())
        running.who = desktop
        assert (await running.pipe(TRANSFER, wire.MODERN)).body["result"]["content"]


KNOWS_TASKS: dict[str, Any] = {"extensions": {"io.modelcontextprotocol/tasks": {}}, "elicitation": {"form": {}}}


async def test_a_login_is_asked_for_again_where_a_task_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever answers a task's question has something done; who looks has logged in, however long ago."""
    server = McpServer("logins")

    @server.tool("transfer", scopes={"mcp:write"}, fresh=60, acr="2", task="required")
    async def transfer(ctx: Context) -> str:
        return str(await ctx.elicit("Really?", Sure))

    ran.clear()
    now = time.time()
    recent, old, weak = (
        caller(["mcp:write"], auth_time=when, acr=acr) for when, acr in ((now, "2"), (now - 100, "2"), (now, "1"))
    )
    async with inside(server, tmp_path, monkeypatch) as running:
        for who in (old, weak):
            assert (await _ask(running, who, "tools/call", name="transfer", arguments={})).status == 401
        made = await _ask(running, recent, "tools/call", name="transfer", arguments={})
        task = made.body["result"]["taskId"]
        answers = {"inputResponses": {}, "taskId": task}
        for who, method, more, status in (
            (old, "tasks/get", {"taskId": task}, 200),
            (weak, "tasks/get", {"taskId": task}, 401),
            (old, "tasks/update", answers, 401),
            (weak, "tasks/update", answers, 401),
            (recent, "tasks/update", answers, 200),
            (weak, "tasks/cancel", {"taskId": task}, 401),
            (old, "tasks/cancel", {"taskId": task}, 200),
        ):
            answer = await _ask(running, who, method, **more)
            assert answer.status == status, (method, answer)
            if status == 401:
                assert 'error="insufficient_user_authentication"' in answer.challenge
                assert 'acr_values="2"' in answer.challenge
                assert ('max_age="60"' in answer.challenge) == (method == "tasks/update")


async def test_a_round_that_is_answered_late_asks_for_another_login(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = McpServer("logins")

    @server.tool("transfer", scopes={"mcp:write"}, fresh=60)
    async def transfer(ctx: Context) -> str:
        await ctx.elicit("Really?", Sure)
        ran.append("transfer")
        return "done"

    ran.clear()
    now = time.time()
    async with inside(server, tmp_path, monkeypatch) as running:
        recent = caller(["mcp:write"], auth_time=now)
        asked = await _ask(running, recent, "tools/call", can=FORMS, name="transfer", arguments={})
        (key,) = asked.body["result"]["inputRequests"]
        again = {
            "name": "transfer",
            "arguments": {},
            "requestState": asked.body["result"]["requestState"],
            "inputResponses": {key: {"action": "accept", "content": {"yes": True}}},
        }
        late = await _ask(running, caller(["mcp:write"], auth_time=now - 100), "tools/call", can=FORMS, **again)
        assert (late.status, 'max_age="60"' in late.challenge, ran) == (401, True, [])
        assert (await _ask(running, recent, "tools/call", can=FORMS, **again)).status == 200
        assert ran == ["transfer"]


FORMS: dict[str, Any] = {"elicitation": {"form": {}}}


class Sure(msgspec.Struct):
    yes: bool


async def _ask(running: Inside, who: Any, method: str, *, can: Any = KNOWS_TASKS, **params: Any) -> Reply:
    running.who = who
    named = params.get("name") or params.get("taskId")
    message = wire.modern(method, params)
    message["params"]["_meta"][f"{wire.PREFIX}clientCapabilities"] = can
    return await running.post(message, **wire.headers(method, named))


async def _as(running: Inside, who: Any, name: str) -> Reply:
    running.who = who
    return await post(running, name)


async def test_a_login_is_asked_of_strangers_too_where_no_scope_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With no default scopes a set of none is needed, which nobody lacks."""
    server = McpServer("s")

    @server.tool(fresh=10)
    async def transfer() -> str:
        ran.append("transfer")
        return "done"

    @server.tool(public=True)
    async def news() -> str:
        return "news"

    ran.clear()
    async with inside(server, tmp_path, monkeypatch, default_scopes="[]") as running:
        running.who = None
        assert (await post(running, "news")).status == 200
        assert (await post(running, "transfer")).status == 401
    assert ran == []
