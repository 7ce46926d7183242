"""A REST API as tools, all the way: document, list, step-up, token exchange, the API's answer, over real sockets."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from devstack.demo.api import app as shop
from devstack.demo.api.callers import Trust
from mcp_server import Context, McpServer
from tests.kit import wire
from tests.kit.authorities import SERVER_SECRET
from tests.kit.stack import Stack, free_port, running_stack, serving

ERAS = [wire.MODERN, "2025-11-25"]
READS, WRITES = "mcp:read orders:read", "mcp:read orders:read orders:write"


@asynccontextmanager
async def over_the_shop(folder: Path, server: McpServer | None = None, **more: str) -> AsyncIterator[Stack]:
    """An MCP server over the sample API, whose operator has named a document and an audience, and nothing else."""
    port = free_port()
    settings = {
        "openapi": str(shop.DOCUMENT),
        "upstream_url": f"http://127.0.0.1:{port}",
        "upstream_audience": shop.AUDIENCE,
        "client_secret": SERVER_SECRET,
        **more,
    }
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(running_stack(folder, server or McpServer("shop"), **settings))
        api = shop.create(Trust(running.url, shop.AUDIENCE, running.url))
        await stack.enter_async_context(serving(api, port))
        yield running


@pytest.fixture(scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    server = McpServer("shop")

    @server.tool(scopes={"orders:read"})
    async def cheapest(ctx: Context) -> str:
        """The cheapest product."""
        found = (await ctx.upstream("orders").get("/products", limit=1)).json()
        return str(found["items"][0]["sku"])

    async with over_the_shop(tmp_path_factory.mktemp("rest"), server) as running:
        yield running


async def call(stack: Stack, token: str | None, name: str, arguments: dict[str, Any], era: str = wire.MODERN) -> Any:
    params = {"name": name, "arguments": arguments}
    if era == wire.MODERN:
        return await stack.post(wire.modern("tools/call", params), token, **wire.headers("tools/call", name))
    return await stack.post(wire.legacy("tools/call", params), token, mcp_protocol_version=era)


async def result(stack: Stack, token: str, name: str, arguments: dict[str, Any], era: str = wire.MODERN) -> Any:
    answer = await call(stack, token, name, arguments, era)
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]


async def listed(stack: Stack, token: str, era: str = wire.MODERN) -> dict[str, Any]:
    modern = era == wire.MODERN
    body = wire.modern("tools/list") if modern else wire.legacy("tools/list")
    headers = wire.headers("tools/list") if modern else {"mcp_protocol_version": era}
    answer = await stack.post(body, token, **headers)
    return {one["name"]: one for one in answer.json()["result"]["tools"]}


@pytest.mark.parametrize("era", ERAS)
async def test_each_operation_is_a_tool(stack: Stack, era: str) -> None:
    tools = await listed(stack, await stack.token("alice", READS), era)
    assert tools.keys() == {
        *("list_products", "get_product", "list_orders", "create_order", "get_order", "cancel_order", "refund_order"),
        "cheapest",
    }
    assert tools["list_products"]["annotations"]["readOnlyHint"] is True
    assert tools["cancel_order"]["annotations"]["destructiveHint"] is True
    assert tools["get_product"]["inputSchema"]["required"] == ["sku"]


@pytest.mark.parametrize("era", ERAS)
async def test_a_call_goes_through_with_a_token_of_the_apis_own(
    stack: Stack, caplog: pytest.LogCaptureFixture, era: str
) -> None:
    token = await stack.token("alice", READS)
    with caplog.at_level(logging.INFO, "orders-api"):
        told = await result(stack, token, "list_products", {"limit": 2}, era)
    assert json.loads(told["content"][0]["text"]) == told["structuredContent"]
    assert len(told["structuredContent"]["items"]) == 2
    assert told["structuredContent"]["_next"] == {"limit": 2, "offset": 2}
    (line,) = [record.getMessage() for record in caplog.records if "aud=" in record.getMessage()]
    assert f"aud={shop.AUDIENCE}" in line
    assert f"azp={stack.resource}" in line  # this server, and not the client whose token came in
    assert token not in caplog.text


@pytest.mark.parametrize("era", ERAS)
async def test_the_operations_scope_is_asked_for_by_a_challenge_before_anything_runs(stack: Stack, era: str) -> None:
    reads, order = await stack.token("bob", READS), {"sku": "TEA-01", "quantity": 1}
    refused = await call(stack, reads, "create_order", order, era)
    assert refused.status_code == 403
    assert 'error="insufficient_scope"' in refused.headers["www-authenticate"]
    assert "orders:write" in refused.headers["www-authenticate"]
    made = await result(stack, await stack.token("bob", WRITES), "create_order", order, era)
    assert made["structuredContent"]["sku"] == "TEA-01"
    assert stack.audited()[-1]["tool"] == "create_order"


async def test_nobody_is_challenged_for_all_that_is_offered(stack: Stack) -> None:
    refused = await call(stack, None, "list_products", {})
    assert refused.status_code == 401
    described = await stack.http.get(stack.resource.replace("/mcp", "/.well-known/oauth-protected-resource/mcp"))
    assert {"orders:read", "orders:write"} <= set(described.json()["scopes_supported"])


async def test_what_the_api_refuses_tells_the_model_what_to_change(stack: Stack) -> None:
    token = await stack.token("alice", READS)
    gone = await result(stack, token, "get_product", {"sku": "TEA-99"})
    assert gone["isError"] is True
    assert "404" in gone["content"][0]["text"]
    assert "127.0.0.1" not in gone["content"][0]["text"]
    wrong = await result(stack, token, "get_product", {"sku": "../orders"})
    assert wrong["isError"] is True
    assert wrong["content"][0]["text"].startswith("Invalid arguments for get_product: sku")


async def test_a_handler_calls_the_same_api_as_its_caller(stack: Stack) -> None:
    told = await result(stack, await stack.token("alice", READS), "cheapest", {})
    assert told["content"][0]["text"].partition("-")[0].isupper()


async def test_many_callers_at_once_each_meet_themselves(stack: Stack) -> None:
    tokens = [await stack.token(user, WRITES) for user in ("bob", "carol")]
    order = {"sku": "TEA-01", "quantity": 1}
    made = await asyncio.gather(*(result(stack, tokens[n % 2], "create_order", order) for n in range(20)))
    people = [one["structuredContent"]["customer"] for one in made]
    assert people[::2] == [people[0]] * 10
    assert people[1::2] == [people[1]] * 10
    assert people[0] != people[1]
