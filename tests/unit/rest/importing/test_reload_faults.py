"""What goes wrong while APIs are read again: the one before is served, whole, and nothing of it is lost."""

import gc
import weakref
from pathlib import Path
from typing import Any, Self

import pytest
from msgspec import Raw

from mcp_server import McpServer, Scope, ToolError
from mcp_server.rest.importing.newest import MOST_UNSETTLED
from tests.kit.contexts import context
from tests.kit.garbage import nothing_left
from tests.kit.handling import called, lacking, text_of
from tests.kit.imports import closed, document, get, imported, in_path
from tests.kit.upstreams import answers, api
from tests.unit.rest.importing.test_live_apis import PATHS, URL, written
from tests.unit.rest.importing.test_workers import Unasked


async def test_resources_that_are_refused_take_the_new_tools_back(tmp_path: Path) -> None:
    server, taken = McpServer("s"), list[str]()

    def take_the_address() -> None:
        """An author's own resource comes while the tools have come and the resources have not."""
        if "new_one" in server.tools and not taken:
            taken.append("shop:///x")
            server.resource("shop:///x", name="own")(lambda: "own")

    one = {"/a": get("a")}
    operations = {"a": {"as": "both"}, "b": {"as": "resource"}}
    async with imported(server, written(tmp_path, one), URL, operations=operations) as imports:
        tools, resources = dict(server.tools), dict(server.resources)
        server.keepers.append(take_the_address)
        written(tmp_path, {**one, "/x": get("b"), "/new": get("new_one")})
        assert await imports.reload() is False
        assert "registered already" in imports.problems["shop"]
        own = server.resources["shop:///x"]
        assert (server.tools, server.resources) == (tools, {**resources, "shop:///x": own})
        assert imports.request("a", {}).url == f"{URL}/a"
        written(tmp_path, {**one, "/new": get("new_one")})
        assert await imports.reload() is True
        assert set(server.tools) == {"a", "new_one"}
        assert imports.problems == {}
    assert (server.tools, set(server.resources)) == ({}, {"shop:///x"})


@pytest.mark.parametrize("declared", [True, False])
async def test_a_scope_that_a_value_could_make_leaves_its_operation_out_alone(tmp_path: Path, declared: bool) -> None:
    """At the start and at a reload: for each number there is a scope, and none that a document names may be one."""
    names = ("mcp:read", "orders:7", "orders:{number}")
    server = McpServer("s", scopes=[Scope(names[0]), Scope(names[2])] if declared else ())

    @server.tool(scopes={"mcp:read"} if declared else {"orders:{number}"})
    async def order(number: int) -> str:
        return str(number)

    fine, confused = {"/a": get("a", "mcp:read")}, {"/x": get("b", "orders:7"), "/y": get("c", "orders:7")}
    operations = {"c": {"as": "resource"}}
    async with imported(server, written(tmp_path, fine | confused), URL, operations=operations) as imports:
        assert (set(server.tools), dict(server.resources)) == ({"a", "order"}, {})
        texts = {one.pointer: one.text for one in imports.plans[0].report.refused}
        assert set(texts) == {"/paths/~1x/get", "/paths/~1y/get"}
        if not declared:
            assert texts["/paths/~1x/get"].startswith("b: scope 'orders:7' could be made by 'orders:{number}'")
        written(tmp_path, fine | confused | {"/new": get("new_one", "mcp:read")})
        assert await imports.reload() is True
        assert (set(server.tools), imports.problems) == ({"a", "new_one", "order"}, {})


async def test_of_two_apis_a_scope_is_the_first_ones(tmp_path: Path) -> None:
    server, files = McpServer("s"), [tmp_path / "one.json", tmp_path / "two.json"]
    files[0].write_bytes(document({"/a/{id}": get("a", "one", in_path("id")), "/e": get("e", "orders:7")}))
    files[1].write_bytes(document({"/b": get("b", "orders:7"), "/c": get("c", "mcp:read")}))
    named = zip(("one", "two"), files, strict=True)
    tables: dict[str, Any] = {name: {"document": str(file), "base_url": URL} for name, file in named}
    tables["one"]["scopes"] = {"one": "orders:{id}", "orders:7": "orders:7"}
    async with imported(server, files[0], URL, apis=tables) as imports:
        assert set(server.tools) == {"a", "c"}
        files[1].write_bytes(document({"/b": get("b", "orders:7"), "/d": get("d", "mcp:read")}))
        assert await imports.reload() is True
        assert set(server.tools) == {"a", "d"}
        files[0].write_bytes(document({"/e": get("e", "orders:7")}))
        assert await imports.reload() is True  # what has gone is in nobody's way
        assert set(server.tools) == {"b", "d", "e"}


class Counted(Unasked):
    """A client that is told whether it is open."""

    def __init__(self, all_of_them: "list[Counted]") -> None:
        self.open, self.closed = False, 0
        all_of_them.append(self)

    async def __aenter__(self) -> Self:
        self.open = True
        return self

    async def __aexit__(self, *_: object) -> None:
        self.open, self.closed = False, self.closed + 1

    async def retire(self) -> None:
        self.open = False


async def test_no_client_is_left_open_by_what_was_refused_or_replaced(tmp_path: Path) -> None:
    server, clients = McpServer("s"), list[Counted]()

    def take_the_address() -> None:
        if "shop:///x" not in server.resources:
            server.resource("shop:///x", name="own")(lambda: "own")

    def at(host: str, paths: Any) -> Path:
        return written(tmp_path, paths, servers=[{"url": f"https://{host}.example.com"}])

    one, operations = {"/a": get("a")}, {"b": {"as": "resource"}}
    file = at("one", one)
    imports = closed(server, file, "", client=lambda _: Counted(clients), operations=operations)
    await imports.start()
    server.keepers.append(take_the_address)
    at("two", {**one, "/x": get("b")})
    assert await imports.reload() is False
    assert [each.open for each in clients] == [True, False]
    at("three", {**one, "/new": get("new_one")})
    assert await imports.reload() is True
    assert [each.open for each in clients] == [False, False, True]
    await imports.stop()
    assert [each.closed for each in clients][2] == 1
    assert not any(each.open for each in clients)


async def test_what_is_retired_is_forgotten(tmp_path: Path) -> None:
    """Documents that name other hosts day after day: a client of each would stay until the end."""
    kept = weakref.WeakSet[Counted]()

    def client(_: object) -> Counted:
        made = Counted([])
        kept.add(made)
        return made

    written(tmp_path, servers=[{"url": "https://h.example.com"}])
    imports = closed(McpServer("s"), tmp_path / "doc.json", "", client=client)
    await imports.start()
    for number in range(5):
        written(tmp_path, servers=[{"url": f"https://h{number}.example.com"}])
        assert await imports.reload() is True
    gc.collect()
    assert len(kept) == 1
    await imports.stop()


async def test_what_is_replaced_ends_with_its_last_call(tmp_path: Path) -> None:
    """Each document that came left the one before it in memory, and what was found broken everything that read it."""
    operations = {"list_orders": {"as": "both"}}
    async with imported(McpServer("s"), written(tmp_path), URL, operations=operations) as imports:
        with nothing_left():
            for paths in ({**PATHS, "/new": get("new_one")}, {"/new": get("new_one")}, PATHS):
                written(tmp_path, paths)
                assert await imports.reload() is True
                (tmp_path / "doc.json").write_text("{")
                assert await imports.reload() is False


async def test_a_document_of_which_nothing_is_left_is_not_taken(tmp_path: Path) -> None:
    """A file that is read while it is written is often valid, and short."""
    server = McpServer("s")
    async with imported(server, written(tmp_path), URL) as imports:
        written(tmp_path, {})
        assert await imports.reload() is False
        assert "nothing of it is left" in imports.problems["shop"]
        assert set(server.tools) == {"list_orders", "get_order"}


async def test_of_two_apis_the_one_that_can_be_taken_is(tmp_path: Path) -> None:
    """And a name that the first one takes is no longer the second one's."""
    server, files = McpServer("s"), [tmp_path / "one.json", tmp_path / "two.json"]
    for file in files:
        file.write_bytes(document({"/a": get(f"of_{file.stem}")}))
    tables = {one.stem: {"document": str(one), "base_url": URL, "identity": {"mode": "none"}} for one in files}
    async with imported(server, files[0], URL, apis=tables) as imports:
        assert set(server.tools) == {"of_one", "of_two"}
        files[0].write_bytes(document({"/a": get("of_one"), "/b": get("of_two")}))
        files[1].write_text("{")
        assert await imports.reload() is True
        assert set(imports.problems) == {"two"}
        assert {"of_one", "of_two"} < set(server.tools)
        assert len(server.tools) == 3
        assert await imports.reload() is False
        assert set(imports.problems) == {"two"}
        files[1].write_bytes(document({"/a": get("of_two")}))
        await imports.reload()
        assert imports.problems == {}
        files[0].write_bytes(document({"/a": get("of_one")}))
        assert await imports.reload() is True
        assert set(server.tools) == {"of_one", "of_two"}  # as a worker has it that begins now


class Writing:
    """Somebody who writes a file, a little more each time that it is looked at."""

    def __init__(self, file: Path) -> None:
        self.file, self.written = file, 0

    async def fetch(self, url: str, most: int) -> bytes:
        self.written += 1
        return document({"/a": get("a")}) + b" " * self.written


async def test_a_document_that_is_being_written_is_waited_for(tmp_path: Path) -> None:
    server = McpServer("s")
    async with imported(server, written(tmp_path), URL) as imports:
        newest = imports._newest["shop"]
        newest._place, newest._fetch = "https://api.test/x.json", Writing(tmp_path).fetch
        for _ in range(MOST_UNSETTLED - 1):
            assert await imports.reload() is False
            assert imports.unsettled
            assert imports.problems == {}
        assert await imports.reload() is False
        assert not imports.unsettled
        assert "another one each time" in imports.problems["shop"]
        assert set(server.tools) == {"list_orders", "get_order"}


async def test_an_author_may_take_an_imported_tool_away(tmp_path: Path) -> None:
    server = McpServer("s")
    async with imported(server, written(tmp_path), URL) as imports:
        server.remove_tool("get_order")
        written(tmp_path, {**PATHS, "/new": get("new_one")})
        assert await imports.reload() is True
        assert "new_one" in server.tools
        server.remove_tool("new_one")
    assert server.tools == {}


@pytest.mark.parametrize("tool", ["call_tool", "call_read_tool", "describe_tool"])
async def test_who_sees_what_is_granted_hears_no_other_name(tmp_path: Path, tool: str) -> None:
    server = McpServer("s")
    paths = {**PATHS, "/pay": {"post": get("list_payroll", "admin")["get"]}}
    rest = "" if tool == "describe_tool" else ', "arguments": {}'
    async with imported(server, written(tmp_path, paths), URL, granted=True, list="search"):
        search = server.tools[tool]
        for named in ("list_payrol", "list_payroll"):
            with pytest.raises(ToolError) as said:
                await search.call(search.decode(Raw(f'{{"name": "{named}"{rest}}}'.encode())), context)
            assert str(said.value) == f"there is no tool '{named}'"


async def test_a_document_cannot_say_of_what_deletes_that_it_reads(tmp_path: Path) -> None:
    said: dict[str, Any] = {"x-mcp-annotations": {"readOnlyHint": True}}
    drop, look = get("drop", "", in_path("id"), **said)["get"], get("look", **said)["get"]
    server = McpServer("s")
    async with imported(server, written(tmp_path, {"/o/{id}": {"delete": drop}, "/s": {"post": look}}), URL):
        hints = {name: tool.entry.annotations for name, tool in server.tools.items()}
    assert hints["drop"] is not None
    assert hints["drop"].read_only_hint is False
    assert hints["look"] is not None
    assert hints["look"].read_only_hint is True  # a search by POST may


@pytest.mark.parametrize(
    "scopes",
    ["realm-admin offline_access", "x:{id}", " ".join(f"s{n}" for n in range(21)), "a\u00e9", "b\\c", "\x1b[2J"],
)
async def test_an_api_does_not_choose_what_a_person_is_asked_for(tmp_path: Path, scopes: str) -> None:
    async with api(lacking(scopes.encode().decode("latin-1"))) as upstream:
        if scopes.startswith("realm-admin"):
            result = await called(tmp_path, upstream, server=McpServer("s", scopes=[Scope("orders:read")]))
        else:
            result = await called(tmp_path, upstream)
    assert "does not allow this to the caller" in text_of(result)


async def test_an_answer_nested_deeply_ends_no_call_by_an_exception_of_its_own(tmp_path: Path) -> None:
    said = []
    for depth in (400, 1_500, 20_000):
        body = b'{"a":' * depth + b'"x"' + b"}" * depth
        async with api(answers(200, body, Content_Type="application/json")) as upstream:
            try:
                said.append(text_of(await called(tmp_path, upstream))[:30])
            except ToolError as told:
                said.append(str(told))
    assert len(said) == 3
    assert all(said)


async def test_a_large_answer_is_read_beside_the_loop(tmp_path: Path) -> None:
    body = b'{"items":[' + b",".join(b'{"id":%d,"text":"%b"}' % (n, b"x" * 200) for n in range(3_000)) + b"]}"
    async with api(answers(200, body, Content_Type="application/json")) as upstream:
        result = await called(tmp_path, upstream)
    assert b'"_cut"' in bytes(result.structured_content)
