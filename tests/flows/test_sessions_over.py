"""A token that an API's issuer does not trade any more: while nothing of the answer is out, the client is sent for another."""

from pathlib import Path
from typing import Any

import pytest

from mcp_server import Context, McpServer
from mcp_server.authoring.errors import SessionEnded
from tests.kit import wire
from tests.kit.backends import settle
from tests.kit.inside import Inside, Reply, caller, inside

TOLD = "Your session has ended; sign in again."


def made() -> McpServer:
    server = McpServer("s")

    @server.tool(task="allowed")
    async def asks(ctx: Context, speaks: bool = False) -> str:
        if speaks:
            await ctx.progress(1)
        raise SessionEnded(TOLD)

    @server.resource("shop://log", name="log")
    async def log() -> str:
        raise SessionEnded(TOLD)

    return server


async def post(running: Inside, **more: Any) -> Reply:
    speaks, meta = more.pop("speaks", False), more
    message = wire.modern("tools/call", {"name": "asks", "arguments": {"speaks": speaks}})
    message["params"]["_meta"] |= meta
    return await running.post(message, **wire.headers("tools/call", "asks"))


async def test_a_session_that_is_over_is_a_401(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with inside(made(), tmp_path, monkeypatch) as running:
        running.who = caller(["mcp:read"])
        legacy = wire.legacy("tools/call", {"name": "asks", "arguments": {}})
        read = wire.modern("resources/read", {"uri": "shop://log"})
        for refused in (
            await post(running),
            await running.post(legacy, mcp_protocol_version="2025-11-25"),
            await running.post(read, **wire.headers("resources/read", "shop://log")),
        ):
            assert (refused.status, 'error="invalid_token"' in refused.challenge) == (401, True), refused
        assert [(one["decision"], one["reason"]) for one in running.audited()] == [("deny", "session_ended")] * 3


async def test_once_the_answer_has_begun_it_is_told_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with inside(made(), tmp_path, monkeypatch) as running:
        running.who = caller(["mcp:read"])
        late = await post(running, speaks=True, progressToken="p")
        assert (late.status, late.body["result"]["isError"]) == (200, True)
        assert "the session has ended" in late.body["result"]["content"][0]["text"]
        piped = await running.pipe(wire.modern("tools/call", {"name": "asks", "arguments": {}}), wire.MODERN)
        assert piped.body["error"]["message"] == "the session has ended; sign in again"


async def test_a_task_fails_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known: dict[str, Any] = {f"{wire.PREFIX}clientCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}}}
    async with inside(made(), tmp_path, monkeypatch) as running:
        running.who = caller(["mcp:read"])
        created = (await post(running, **known)).body["result"]["taskId"]
        await settle()
        asked = wire.modern("tasks/get", {"taskId": created})
        asked["params"]["_meta"] |= known
        answer = (await running.post(asked, **wire.headers("tasks/get", created))).body["result"]
        assert TOLD in str(answer)
