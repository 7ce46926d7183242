"""`MCP_OPENAPI=orders.yaml mcp-server serve`: an API without a line of code, in processes of its own."""

from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from tests.kit import shops, wire
from tests.kit.served import running_server
from tests.kit.stack import free_port

pytestmark = pytest.mark.live


async def test_a_document_and_an_audience_are_a_server(tmp_path: Path) -> None:
    port = free_port()
    async with AsyncExitStack() as stack:
        served = await stack.enter_async_context(running_server(tmp_path, "", **shops.settings(port)))
        await stack.enter_async_context(shops.open_shop(served.issuer, port))
        http = await stack.enter_async_context(httpx.AsyncClient(trust_env=False, timeout=30))
        token = await served.token("alice", "mcp:read orders:read")
        answer = await http.post(
            served.resource,
            json=wire.modern("tools/call", {"name": "list_products", "arguments": {"limit": 1}}),
            headers={
                "authorization": f"Bearer {token}",
                "accept": "application/json, text/event-stream",
                **{
                    name.replace("_", "-"): value for name, value in wire.headers("tools/call", "list_products").items()
                },
            },
        )
        result = answer.json()["result"]
        assert len(result["structuredContent"]["items"]) == 1
        log = served.log.read_text()
        assert "an API was imported" in log
        assert token not in log
