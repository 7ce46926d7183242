"""APIs taken into a server and out of it: whole or not at all, with what is wrong said by its place."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from mcp_server import McpServer, ResourceNotFound, Scope, ToolError
from mcp_server.authoring.errors import BadArguments
from mcp_server.protocol.types.content import ResourceLink
from mcp_server.registry.requirement import Requirement
from mcp_server.registry.resource import Resource
from mcp_server.rest.imports import Imports
from mcp_server.rest.model import UnusableDocument
from tests.kit.contexts import context
from tests.kit.imports import document, get, imported, in_path
from tests.kit.upstreams import answers, api

URL = "http://127.0.0.1:9"
PATHS = {"/orders": get("list_orders", "orders:read"), "/orders/{id}": get("get_order", "", in_path("id"))}


def written(tmp_path: Path, paths: Any = None, **more: Any) -> Path:
    file = tmp_path / "doc.json"
    file.write_bytes(document(PATHS if paths is None else paths, **more))
    return file


def watched(**options: Any) -> tuple[McpServer, list[str]]:
    server, told = McpServer("s", **options), list[str]()
    server.watchers.append(lambda kind, uri: told.append(kind))
    return server, told


async def test_tools_come_and_go_in_one_step(tmp_path: Path) -> None:
    server, told = watched()

    @server.tool
    async def own() -> str:
        return ""

    told.clear()
    async with imported(server, written(tmp_path), URL) as imports:
        assert set(server.tools) == {"own", "list_orders", "get_order"}
        assert told == ["tools"]
        assert server.tools["list_orders"].scopes == frozenset({"orders:read"})
        assert server.tools["get_order"].scopes is None  # the default, never none
        (report,) = imports.reports
        assert (report.count.tools, report.refused) == (2, ())
        made = imports.request("get_order", {"id": "a/b"})
        assert made.url == f"{URL}/orders/a%2Fb"
        with pytest.raises(LookupError, match="no imported tool 'own'"):
            imports.request("own", {})
        with pytest.raises(BadArguments):
            imports.request("get_order", {})
    assert set(server.tools) == {"own"}
    assert told == ["tools", "tools"]
    assert server.upstreams is None


async def test_alternatives_and_public_operations(tmp_path: Path) -> None:
    both = get("both")
    both["get"]["security"] = [{"realm": ["a"]}, {"realm": ["b"]}]
    server = McpServer("s")
    async with imported(
        server, written(tmp_path, {"/both": both, "/open": get("open_one")}), URL,
        operations={"open_one": {"public": True}},
    ):  # fmt: skip
        needs = server.tools["both"].scopes
        assert isinstance(needs, Requirement)
        assert [one.scopes for one in needs.alternatives] == [{"a"}, {"b"}]
        assert server.tools["open_one"].public


async def test_an_operation_that_the_registry_refuses_is_left_out_alone(tmp_path: Path) -> None:
    server = McpServer("s", scopes=[Scope("mcp:read")])
    elsewhere = get("far", servers=[{"url": "https://other.test"}])
    async with imported(server, written(tmp_path, {**PATHS, "/far": elsewhere}), URL) as imports:
        assert set(server.tools) == {"get_order"}
        refused = {one.pointer: one.text for one in imports.reports[0].refused}
    assert refused["/paths/~1orders/get"] == "list_orders: needs orders:read, and the server declares no such scope"
    assert "allow_hosts" in refused["/paths/~1far/get"]


async def test_a_name_that_a_handler_has_is_not_taken(tmp_path: Path) -> None:
    server = McpServer("s")

    @server.tool
    async def get_order() -> str:
        return "own"

    async with imported(server, written(tmp_path), URL):
        assert len(server.tools) == 3
        assert server.tools["get_order"].entry.description != "Does get_order"


async def test_what_cannot_be_imported_is_said_by_its_place_and_nothing_is_left(tmp_path: Path) -> None:
    server = McpServer("s")
    with pytest.raises(UnusableDocument, match=r"/servers: .*set base_url.*MCP_UPSTREAM_URL"):
        async with imported(server, written(tmp_path), ""):
            raise AssertionError
    with pytest.raises(UnusableDocument):
        async with imported(server, tmp_path / "nothing.json", URL):
            raise AssertionError
    assert server.tools == {}
    assert server.upstreams is None


async def test_a_search_that_only_shows_what_is_granted(tmp_path: Path) -> None:
    server = McpServer("s")
    async with imported(server, written(tmp_path), URL, granted=True, list="search"):
        assert {name for name, tool in server.tools.items() if tool.listed} == {
            *("search_tools", "describe_tool", "call_tool", "call_read_tool")
        }
        tool = server.tools["search_tools"]
        found = await tool.call(tool.decode(Raw(b'{"query": "orders order"}')), context)
        assert b'"get_order"' in bytes(found.structured_content)  # type: ignore[arg-type]
        assert b'"list_orders"' not in bytes(found.structured_content)  # type: ignore[arg-type]
        tool = server.tools["describe_tool"]
        with pytest.raises(ToolError, match="there is no tool 'list_orders'"):
            await tool.call(tool.decode(Raw(b'{"name": "list_orders"}')), context)


@pytest.mark.parametrize("arguments", [b"{}", b'{"name": 1}', b'{"name": "x"}', b"[1]", b'{"name":"get_order","arguments":"x"}', b"\xff"])  # fmt: skip
async def test_a_delegate_takes_whatever_comes(tmp_path: Path, arguments: bytes) -> None:
    server = McpServer("s")
    async with imported(server, written(tmp_path), URL, list="search"):
        delegate = server.tools["call_tool"].delegate
        assert delegate is not None
        assert delegate(Raw(arguments)) is None
        meant = delegate(Raw(b'{"name": "get_order", "arguments": "{\\"id\\": \\"1\\"}"}'))
        assert meant is not None
        assert (meant[0].name, bytes(meant[1])) == ("get_order", b'{"id": "1"}')


# Resources


async def read(resource: Resource, uri: str) -> Any:
    arguments = resource.match(uri)
    assert arguments is not None
    return await resource.read(uri, arguments, context)


async def test_a_get_can_be_a_resource_or_both(tmp_path: Path) -> None:
    server, told = watched()
    operations = {"get_order": {"as": "both"}, "list_orders": {"as": "resource"}}
    async with api(answers(200, b'{"id": 7}', content_type="application/json")) as upstream:
        url = f"http://127.0.0.1:{upstream.port}"
        async with imported(server, written(tmp_path), url, identity={"mode": "none"}, operations=operations):
            assert set(server.tools) == {"get_order"}
            assert set(server.resources) == {"shop:///orders", "shop:///orders/{id}"}
            assert told == ["tools", "resources"]
            (held,) = await read(server.resources["shop:///orders/{id}"], "shop:///orders/7")
            assert (held.uri, held.text, held.mime_type) == ("shop:///orders/7", '{"id": 7}', "application/json")
            assert upstream.seen[0].head.startswith(b"GET /orders/7 ")
            assert server.resources["shop:///orders"].scopes == frozenset({"orders:read"})
            upstream.acts = [answers(404)]
            with pytest.raises(ResourceNotFound):
                await read(server.resources["shop:///orders/{id}"], "shop:///orders/8")
            upstream.acts = [answers(500)]
            with pytest.raises(ToolError, match="The API failed"):
                await read(server.resources["shop:///orders"], "shop:///orders")
            upstream.acts = [answers(200, b"\x00\x01", content_type="image/png")]
            (held,) = await read(server.resources["shop:///orders"], "shop:///orders")
            assert (held.blob, held.mime_type) == ("AAE=", "image/png")
            upstream.acts = [answers(200, b"x" * 300_000, content_type="image/png")]
            tool = server.tools["get_order"]
            (link,) = (await tool.call(tool.decode(Raw(b'{"id": "7"}')), context)).content
            assert isinstance(link, ResourceLink)
            assert link.uri == "shop:///orders/7"
    assert server.resources == {}


async def test_what_has_no_address_is_no_resource(tmp_path: Path) -> None:
    needy = get("needy", "", {"name": "q", "in": "query", "required": True, "schema": {"type": "string"}})
    posted = {"post": {"operationId": "posted", "responses": {"200": {"description": "ok"}}}}
    server = McpServer("s")
    operations = {"needy": {"as": "resource"}, "posted": {"as": "both"}}
    async with imported(server, written(tmp_path, {"/n": needy, "/p": posted}), URL, operations=operations) as imports:
        texts = [one.text for one in imports.reports[0].remarks]
        assert "needy: as a resource it cannot be given q; it stays a tool" in texts
        assert server.resources == {}
        assert set(server.tools) == {"needy", "posted"}


# Reload


async def test_a_reload_of_another_host_opens_another_client(tmp_path: Path) -> None:
    server = McpServer("s")
    async with imported(server, written(tmp_path), URL) as imports:
        far = get("far", servers=[{"url": "https://other.test"}])
        written(tmp_path, {**PATHS, "/far": far})
        imports._apis = tuple(_allowing(one, "other.test") for one in imports._apis)
        assert await imports.reload() is True
        assert "far" in server.tools
        assert imports.request("far", {}).url == "https://other.test/far"


def _allowing(config: Any, host: str) -> Any:
    return msgspec.structs.replace(config, origin=msgspec.structs.replace(config.origin, allow_hosts=frozenset({host})))


async def test_documents_are_read_again_by_themselves(tmp_path: Path) -> None:
    server = McpServer("s")
    changed = asyncio.Event()
    async with imported(server, written(tmp_path), URL) as first:
        again = Imports(
            server, first._apis, first._around, first._client, access=first._access, reload_s=0.01
        )  # fmt: skip
        await first.stop()
        await again.start()
        server.watchers.append(lambda kind, uri: changed.set())
        written(tmp_path, {"/new": get("new_one")})
        async with asyncio.timeout(10):
            await changed.wait()
        assert set(server.tools) == {"new_one"}
        (tmp_path / "doc.json").write_text("{")
        assert await again.reload() is False
        assert set(again.problems) == {"shop"}
        assert set(server.tools) == {"new_one"}
        await again.stop()
        assert server.tools == {}
