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
from mcp_server import Context, McpServer
from tests.kit import shops, wire
from tests.kit.stack import Stack, free_port, running_stack

ERAS = [wire.MODERN, "2025-11-25"]
READS, WRITES = "mcp:read orders:read", "mcp:read orders:read orders:write"


@asynccontextmanager
async def over_the_shop(folder: Path, server: McpServer | None = None, **more: str) -> AsyncIterator[Stack]:
    """An MCP server over the sample API, whose operator has named a document and an audience, and nothing else."""
    port = free_port()
    settings = {**shops.settings(port), **more}
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(running_stack(folder, server or McpServer("shop"), **settings))
        await stack.enter_async_context(shops.open_shop(running.url, port))
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
    people = [one["structuredContent"]["created_by"] for one in made]
    assert people[::2] == [people[0]] * 10
    assert people[1::2] == [people[1]] * 10
    assert people[0] != people[1]


# A document that says less than the API asks, and a handler that calls what is no tool

FORGOTTEN = """
overlay: 1.0.0
info: {title: "One scope is forgotten, so that the document's own orders:read stands", version: "1"}
actions:
  - {target: "$.paths['/orders'].post.security", remove: true}
"""
FEW = '[apis.orders]\noverlays = ["forgotten.yaml"]\ninclude = ["tag:orders"]\n'


@pytest.fixture(scope="module")
async def forgetful(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    folder, server = tmp_path_factory.mktemp("forgetful"), McpServer("shop")
    (folder / "forgotten.yaml").write_text(FORGOTTEN)
    (folder / "mcp.toml").write_text(FEW)

    @server.tool(scopes={"orders:read"})
    async def cheapest(ctx: Context) -> str:
        """As docs/rest.md has it: `/products` is not of the tag, and no tool."""
        return str((await ctx.upstream("orders").get("/products", limit=1)).json()["items"][0]["sku"])

    async with over_the_shop(folder, server, config=str(folder / "mcp.toml")) as running:
        yield running


async def test_a_step_up_to_what_only_the_api_names_ends_in_an_answer(forgetful: Stack) -> None:
    order = {"sku": "TEA-01", "quantity": 1}
    refused = await call(forgetful, await forgetful.token("bob", READS), "create_order", order)
    assert refused.status_code == 403
    assert 'scope="orders:write"' in refused.headers["www-authenticate"]
    made = await result(forgetful, await forgetful.token("bob", WRITES), "create_order", order)
    assert made["structuredContent"]["sku"] == "TEA-01"


async def test_a_handler_calls_an_operation_that_is_no_tool(forgetful: Stack) -> None:
    token = await forgetful.token("alice", READS)
    assert "list_products" not in await listed(forgetful, token)
    told = await result(forgetful, token, "cheapest", {})
    assert told["content"][0]["text"].partition("-")[0].isupper()


# Search mode


@pytest.fixture(scope="module")
async def searching(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    folder = tmp_path_factory.mktemp("search")
    (folder / "mcp.toml").write_text('[apis.orders]\nlist = "search"\n')
    async with over_the_shop(folder, config=str(folder / "mcp.toml")) as running:
        yield running


def through(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}


@pytest.mark.parametrize("era", ERAS)
async def test_a_long_list_is_four_tools_that_find_and_call_the_others(searching: Stack, era: str) -> None:
    token = await searching.token("alice", READS)
    assert (await listed(searching, token, era)).keys() == {
        "search_tools",
        "describe_tool",
        "call_tool",
        "call_read_tool",
    }
    found = await result(searching, token, "search_tools", {"query": "refund an order"}, era)
    first = found["structuredContent"]["tools"][0]
    assert (first["name"], first["needs"]) == ("refund_order", ["orders:write"])
    entry = await result(searching, token, "describe_tool", {"name": "get_product"}, era)
    assert entry["structuredContent"]["inputSchema"]["required"] == ["sku"]
    made = await result(searching, token, "call_read_tool", through("list_products", {"limit": 1}), era)
    direct = await result(searching, token, "list_products", {"limit": 1}, era)
    assert made == direct
    assert {line["tool"] for line in searching.audited()[-2:]} == {"list_products"}


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("inner", ["list_products", "create_order", "cancel_order"])
@pytest.mark.parametrize("scope", [None, "mcp:read", READS, WRITES])
async def test_the_inner_tools_scopes_decide_row_by_row(
    searching: Stack, scope: str | None, inner: str, era: str
) -> None:
    token = None if scope is None else await searching.token("bob", scope)
    of: dict[str, dict[str, Any]] = {
        "create_order": {"sku": "TEA-01", "quantity": 1},
        "cancel_order": {"order_id": 999},
    }
    arguments = of.get(inner, {})
    by_name = await call(searching, token, inner, arguments, era)
    by_proxy = await call(searching, token, "call_tool", through(inner, arguments), era)
    assert by_proxy.status_code == by_name.status_code
    assert by_proxy.headers.get("www-authenticate") == by_name.headers.get("www-authenticate")
    assert (by_name.status_code == 200) is (scope == WRITES or (inner == "list_products" and scope == READS))


ASKED: dict[str, dict[str, Any]] = {
    "search_tools": {"query": "products"},
    "describe_tool": {"name": "list_products"},
    "call_tool": through("list_products", {}),
    "call_read_tool": through("list_products", {}),
}


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("tool", ASKED)
@pytest.mark.parametrize("caller", ["nobody", "a stranger", "mcp:read", "mcp:infer"])
async def test_who_may_use_a_tool_of_search_row_by_row(searching: Stack, caller: str, tool: str, era: str) -> None:
    """Finding needs a caller, whatever they hold; calling needs what the tool itself needs, and no row is another."""
    token = {"nobody": None, "a stranger": "e30.e30.e30"}.get(caller, "")
    if token == "":
        token = await searching.token("alice", caller)
    asked = await call(searching, token, tool, ASKED[tool], era)
    direct = await call(searching, token, "list_products", {}, era)
    if token is not None and caller != "a stranger" and tool in ("search_tools", "describe_tool"):
        assert direct.status_code == 403
        assert asked.status_code == 200
        told = asked.json()["result"]["structuredContent"]
        assert told["name"] == "list_products" if tool == "describe_tool" else "needs" in told["tools"][0]
        return
    assert asked.status_code == direct.status_code == (403 if token and caller != "a stranger" else 401)
    assert asked.headers["www-authenticate"] == direct.headers["www-authenticate"]
    (of_proxy, of_direct) = searching.audited()[-2:]
    assert (of_proxy["decision"], of_proxy["reason"]) == (of_direct["decision"], of_direct["reason"])


async def test_what_there_is_not_is_told_with_what_is_near(searching: Stack) -> None:
    token = await searching.token("alice", READS)
    for tool, name, text in (
        ("call_tool", "get_produkt", "there is no tool 'get_produkt'; did you mean get_product"),
        ("describe_tool", "orders_refund", "did you mean refund_order"),
        ("call_read_tool", "create_order", "create_order may change something: it is called by call_tool"),
    ):
        arguments = {"name": name} if tool == "describe_tool" else through(name, {})
        told = await result(searching, token, tool, arguments)
        assert told["isError"] is True
        assert text in told["content"][0]["text"]
    nothing = await result(searching, token, "search_tools", {"query": '"zzz* NEAR('})
    assert nothing["structuredContent"]["tools"] == []


# Reload


async def test_a_new_document_is_taken_whole_and_a_broken_one_not_at_all(tmp_path: Path) -> None:
    document = tmp_path / "orders.yaml"
    text = shop.DOCUMENT.read_text()
    document.write_text(text)
    async with over_the_shop(tmp_path, openapi=str(document), openapi_reload_s="3600") as stack:
        token = await stack.token("alice", READS)
        imports = stack.plugin._apis
        assert imports is not None
        told: list[str] = []
        stack.plugin._server.watchers.append(lambda kind, uri: told.append(kind))
        assert await imports.reload() is False  # the same document
        document.write_text(text.replace("operationId: getProduct", "operationId: showProduct"))
        assert await imports.reload() is True
        assert told == ["tools"]
        tools = await listed(stack, token)
        assert "show_product" in tools
        assert "get_product" not in tools
        document.write_text(text.replace("paths:", "paths: ["))
        assert await imports.reload() is False
        assert "show_product" in await listed(stack, token)
        ready = await stack.http.get(stack.resource.replace("/mcp", "/readyz"))
        assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
        assert ready.json()["apis"] == {"orders": "an older document is served"}
        document.write_text(text)
        assert await imports.reload() is True
        assert (await stack.http.get(stack.resource.replace("/mcp", "/readyz"))).json()["status"] == "ok"
        assert told == ["tools", "tools"]
