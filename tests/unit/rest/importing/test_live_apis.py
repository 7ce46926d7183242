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
from mcp_server.rest.importing.watch import Watching
from mcp_server.rest.model import UnusableDocument
from mcp_server.rest.offer.plan import SEARCH_TOOLS
from mcp_server.rest.offer.report import lines
from tests.kit.contexts import context
from tests.kit.imports import document, get, imported, in_path
from tests.kit.upstreams import Exchange, answers, api

URL = "http://127.0.0.1:9"
PATHS = {"/orders": get("list_orders", "orders:read"), "/orders/{id}": get("get_order", "", in_path("id"))}

PATHS_NAMES = {"list_orders", "get_order"}


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
        (report,) = (one.report for one in imports.plans)
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
        refused = {one.pointer: one.text for one in imports.plans[0].report.refused}
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


async def test_pinned_tools_are_listed_beside_those_of_search(tmp_path: Path) -> None:
    server = McpServer("s")
    pin = ["get /orders", "id:no_such"]
    async with imported(server, written(tmp_path), URL, granted=True, list="search", pin=pin) as imports:
        assert {name for name, tool in server.tools.items() if tool.listed} == SEARCH_TOOLS | {"list_orders"}
        assert server.tools["list_orders"].scopes == frozenset({"orders:read"})
        tool = server.tools["search_tools"]
        found = await tool.call(tool.decode(Raw(b'{"query": "order"}')), context)
        assert b'"get_order"' in bytes(found.structured_content)  # type: ignore[arg-type]
        (report,) = (one.report for one in imports.plans)
        assert report.count.pinned == 1
        assert [one.text for one in report.remarks] == ["pattern 'id:no_such' matches no operation"]
        assert "shown as search tools and 1 pinned" in next(lines([report]))
    async with imported(server, written(tmp_path), URL, list="full", pin=pin[:1]) as imports:
        assert set(server.tools) == PATHS_NAMES
        assert imports.plans[0].report.count.pinned == 0


async def test_more_pins_than_a_list_should_have_are_told(tmp_path: Path) -> None:
    many = {f"/n{n}": get(f"number_{n}") for n in range(101)}
    async with imported(McpServer("s"), written(tmp_path, many), URL, pin=["/**"]) as imports:
        assert [one.pointer for one in imports.plans[0].report.remarks] == ["apis.shop.pin"]


@pytest.mark.parametrize("name", sorted(SEARCH_TOOLS))
async def test_a_tool_of_the_authors_that_is_called_as_one_of_search_is_told(tmp_path: Path, name: str) -> None:
    own, told = McpServer("s"), f"a tool of its own called {name}"
    own.tool(name)(_own)
    with pytest.raises(ValueError, match=told):
        async with imported(own, written(tmp_path), URL, list="search"):
            raise AssertionError
    assert set(own.tools) == {name}
    async with imported(own, written(tmp_path), URL) as imports:
        written(tmp_path, {**PATHS, **{f"/n{n}": get(f"number_{n}") for n in range(101)}})
        assert await imports.reload() is False
        assert told in imports.problems["shop"]
        assert set(own.tools) == {name} | PATHS_NAMES
    server = McpServer("s")
    async with imported(server, written(tmp_path), URL, list="search"):
        with pytest.raises(ValueError, match=f"tool '{name}' is how the tools of a large API are found: another name"):
            server.tool(name)(_own)
    server.tool(name)(_own)


async def _own() -> str:
    return "own"


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
        texts = [one.text for one in imports.plans[0].report.remarks]
        assert "needy: as a resource it cannot be given q; it stays a tool" in texts
        assert server.resources == {}
        assert set(server.tools) == {"needy", "posted"}


async def test_what_is_fixed_in_a_path_is_fixed_in_the_address(tmp_path: Path) -> None:
    """It was left in the template as a variable that nobody could fill in."""
    paths = {"/t/{tenant}/{a-b}/{a_b}.json": get("doc", "", in_path("tenant"), in_path("a-b"), in_path("a_b"))}
    operations = {"doc": {"as": "both", "set": {"tenant": "o/{u}r"}}}
    server = McpServer("s")
    async with api(answers(200, b"{}", content_type="application/json")) as upstream:
        url = f"http://127.0.0.1:{upstream.port}"
        async with imported(
            server, written(tmp_path, paths), url, identity={"mode": "none"}, operations=operations
        ) as imports:
            ((uri, resource),) = server.resources.items()
            assert uri.startswith("shop:///t/o%2F%7Bu%7Dr/{a_b}/{a_b_1}.json")
            await read(resource, "shop:///t/o%2F%7Bu%7Dr/1/2.json")
            assert upstream.seen[0].head.startswith(b"GET /t/o%2F%7Bu%7Dr/1/2.json ")
            assert imports.request("doc", {"a-b": "1", "a_b": "2"}).url == f"{url}/t/o%2F%7Bu%7Dr/1/2.json"


async def test_what_cannot_be_set_in_a_path_is_told(tmp_path: Path) -> None:
    server, operations = McpServer("s"), {"doc": {"as": "resource", "set": {"a": ".."}}}
    paths = {"/t/{a}": get("doc", "", in_path("a"))}
    async with imported(server, written(tmp_path, paths), URL, operations=operations) as imports:
        assert "what is set cannot stand in an address" in imports.plans[0].report.remarks[0].text
        assert server.resources == {}


@pytest.mark.parametrize("turned", [False, True])
async def test_of_equal_addresses_one_is_a_resource_and_the_start_goes_on(tmp_path: Path, turned: bool) -> None:
    paths = {
        "/x": get("first"),
        "//x": get("second"),
        "/y/{a}": get("third", "", in_path("a")),
        "/y/{bc}": get("fourth", "", in_path("bc")),
        "/z": get("fifth"),
    }
    operations = {name: {"as": "both"} for name in ("first", "second", "third", "fourth", "fifth")}
    server = McpServer("s")

    @server.resource("shop:///z", scopes={"own"})
    async def own() -> str:
        """The author's."""
        return "own"

    paths = dict(reversed(paths.items())) if turned else paths
    async with imported(server, written(tmp_path, paths), URL, operations=operations) as imports:
        assert set(server.tools) == set(operations)
        assert set(server.resources) == {"shop:///z", "shop:///x", "shop:///y/{a}"}
        assert server.resources["shop:///z"].scopes == frozenset({"own"})
        assert sorted(one.text for one in imports.plans[0].report.remarks) == [
            "fifth: its address shop:///z is that of another one; it stays a tool",
            "fourth: its address shop:///y/{bc} is that of third; it stays a tool",
            "second: its address shop:///x is that of first; it stays a tool",
        ]
        written(tmp_path, {**paths, "///x": get("sixth", "", **{"x-mcp": {"as": "resource"}})})
        assert await imports.reload() is True
        assert set(server.tools) == {*operations, "sixth"}
        assert len(imports.plans[0].report.remarks) == 4


async def test_a_name_that_an_author_has_is_theirs_and_told(tmp_path: Path) -> None:
    server = McpServer("s")

    @server.tool(scopes={"own"})
    async def first() -> str:
        """The author's."""
        return "own"

    async with imported(server, written(tmp_path, {"/x": get("first")}), URL) as imports:
        assert set(server.tools) == {"first", "first_get"}
        assert server.tools["first"].scopes == frozenset({"own"})
        assert [(one.operation, one.tool) for one in imports.plans[0].report.renames] == [("first", "first_get")]


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


async def test_a_client_of_hosts_that_are_called_no_more_keeps_no_connection(tmp_path: Path) -> None:
    """Calls that hold the document before go on through it; each reload would else leave a client open, to the end."""
    server, held = McpServer("s"), asyncio.Event()

    async def later(exchange: Exchange) -> None:
        await held.wait()
        await answers(body=b'{"n": 1}', content_type="application/json")(exchange)

    async with api(later) as upstream:
        url = f"http://127.0.0.1:{upstream.port}"
        async with imported(server, written(tmp_path), url, identity={"mode": "none"}) as imports:
            old = server.tools["get_order"]

            async def called() -> Any:
                made = context()
                return await old.call(old.decode(Raw(b'{"id": "7"}')), lambda: made)

            running = asyncio.create_task(called())
            await asyncio.wait_for(upstream.arrived.wait(), 60)
            written(tmp_path, {**PATHS, "/far": get("far", servers=[{"url": "https://other.test"}])})
            imports._apis = tuple(_allowing(one, "other.test") for one in imports._apis)
            assert await imports.reload() is True
            held.set()
            for call in (running, called()):
                result = await call
                assert result.structured_content == Raw(b'{"n":1}')
                await asyncio.wait_for(upstream.closed.wait(), 60)
                upstream.closed.clear()
            assert upstream.connections == 2


def _allowing(config: Any, host: str) -> Any:
    return msgspec.structs.replace(config, origin=msgspec.structs.replace(config.origin, allow_hosts=frozenset({host})))


async def test_documents_are_read_again_by_themselves(tmp_path: Path) -> None:
    server = McpServer("s")
    changed = asyncio.Event()
    watching = Watching(reload_s=0.01, settle_s=0)
    async with imported(server, written(tmp_path), URL, watching=watching) as imports:
        server.watchers.append(lambda kind, uri: changed.set())
        written(tmp_path, {"/new": get("new_one")})
        async with asyncio.timeout(60):
            await changed.wait()
        assert set(server.tools) == {"new_one"}
        (tmp_path / "doc.json").write_text("{")
        assert await imports.reload() is False
        assert set(imports.problems) == {"shop"}
        assert set(server.tools) == {"new_one"}
    assert server.tools == {}
