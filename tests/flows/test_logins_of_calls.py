"""A call that wants a recent or a strong login (RFC 9470): tools, resources and prompts, on both transports."""

import time
from pathlib import Path
from typing import Any

import pytest

from mcp_server import McpServer
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
