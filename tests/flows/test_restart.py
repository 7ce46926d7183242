"""One application that is started twice, and one that outlives its loop, as tests of its author have it."""

import asyncio
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from litestar import Litestar

from mcp_server import McpPlugin, McpServer, create_app, settings
from tests.kit import wire

server = McpServer("twice")


@server.tool(public=True)
def quick() -> str:
    """Run in a thread."""
    return "quick"


@server.tool(public=True)
async def ever() -> str:
    """Never end."""
    await asyncio.Event().wait()
    return "never"


@server.tool(public=True)
async def swallow() -> str:
    """Swallow a cancellation."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        return "swallowed"
    return "never"


@pytest.fixture
def app(tmp_path: Path) -> Litestar:
    environment = {
        "MCP_ISSUER": "http://localhost:9/realms/mcp",
        "MCP_RESOURCE": "http://localhost:8000/mcp",
        "MCP_AUDIT_FILE": str(tmp_path / "audit.jsonl"),
        "MCP_CALL_TIMEOUT_S": "1",
    }
    return create_app(server, settings.load(environment))


async def call(app: Litestar, tool: str) -> Any:
    headers = {name.replace("_", "-"): value for name, value in wire.headers("tools/call", tool).items()}
    return await post(app, wire.modern("tools/call", {"name": tool, "arguments": {}}), headers)


async def post(app: Litestar, body: Any, headers: dict[str, str]) -> Any:
    async with (
        asyncio.timeout(60),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app=cast("Any", app)), base_url="http://localhost:8000"
        ) as http,
    ):
        answer = await http.post("/mcp", json=body, headers={**headers, "accept": "application/json"})
    assert answer.status_code in (200, 500)
    return answer.json()


def test_a_second_start_serves_as_the_first_did(app: Litestar) -> None:
    async def life() -> None:
        async with app.lifespan():
            listeners = app.plugins.get(McpPlugin).runtime.listeners
            assert (await call(app, "quick"))["result"]["content"][0]["text"] == "quick"
            assert (await call(app, "ever"))["error"]["message"] == "The call took too long"
            assert not listeners.closing
            assert len(server.watchers) == watching

    watching = len(server.watchers)
    asyncio.run(life())
    asyncio.run(life())


def test_a_call_is_bounded_in_time_in_whatever_loop(app: Litestar, tmp_path: Path) -> None:
    for _ in range(2):  # the first loop ends while a look at its calls, and a write of the audit, are still due
        assert asyncio.run(call(app, "quick"))["result"]
    assert asyncio.run(call(app, "ever"))["error"]["message"] == "The call took too long"

    async def written() -> None:
        await call(app, "quick")
        async with asyncio.timeout(60):
            audit = tmp_path / "audit.strangers.jsonl"  # nothing opens it before there is a line, for no lifespan runs
            while not audit.exists() or audit.read_bytes().count(b"quick") != 3:
                await asyncio.to_thread(lambda: None)

    asyncio.run(written())


@pytest.mark.parametrize("batch", [["swallow", "ever"], ["swallow", "quick", "swallow"]], ids=" ".join)
def test_a_handler_that_swallows_its_cancellation_costs_nobody_an_answer(app: Litestar, batch: list[str]) -> None:
    body = [
        {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {"name": name, "arguments": {}}}
        for number, name in enumerate(batch)
    ]
    answers = asyncio.run(post(app, body, {"mcp-protocol-version": "2025-03-26"}))
    told = [one["result"]["content"][0]["text"] if "result" in one else one["error"]["message"] for one in answers]
    assert told == [{"swallow": "swallowed", "ever": "The call took too long", "quick": "quick"}[one] for one in batch]
