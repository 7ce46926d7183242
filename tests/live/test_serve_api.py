"""`MCP_OPENAPI=orders.yaml mcp-server serve`: an API without a line of code, in processes of its own."""

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from devstack.demo.api import app as shop
from devstack.demo.api.callers import Trust
from tests.kit import wire
from tests.kit.authorities import SERVER_SECRET
from tests.kit.served import running_server
from tests.kit.stack import free_port, serving

pytestmark = pytest.mark.live


async def test_a_document_and_an_audience_are_a_server(tmp_path: Path) -> None:
    port = free_port()
    settings: dict[str, Any] = {
        "openapi": str(shop.DOCUMENT),
        "upstream_url": f"http://127.0.0.1:{port}",
        "upstream_audience": shop.AUDIENCE,
        "client_secret": SERVER_SECRET,
    }
    async with AsyncExitStack() as stack:
        served = await stack.enter_async_context(running_server(tmp_path, "", **settings))
        api = shop.create(Trust(served.issuer, shop.AUDIENCE, served.issuer))
        await stack.enter_async_context(serving(api, port))
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
