"""An operation as a tool: what is promised of its answers, where its document comes from, what search finds."""

import asyncio
import difflib
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import Raw
from prometheus_client import REGISTRY

from mcp_server import McpServer, ToolError
from mcp_server.observe.log import logger
from mcp_server.registry.tool import Tool
from mcp_server.rest import drift
from mcp_server.rest.drift import EVERY_S, MOST_BYTES, TOLD_EVERY_S, DriftCheck
from mcp_server.rest.model import UnusableDocument, WireAnswer
from mcp_server.rest.search import ToolIndex
from tests.kit.contexts import context
from tests.kit.imports import document, get, imported, in_path
from tests.kit.upstreams import answers, api

NONE = {"mode": "none"}


def promising(**schema: Any) -> bytes:
    path = get("get_order", "", in_path("id"))
    shape = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], **schema}
    path["get"]["responses"]["200"]["content"]["application/json"]["schema"] = shape
    return document({"/orders/{id}": path})


async def told(tmp_path: Path, body: bytes, output: str, **schema: Any) -> Any:
    file = tmp_path / "doc.json"
    file.write_bytes(promising(**schema))
    server = McpServer("s")
    async with api(answers(200, body, content_type="application/json")) as upstream:
        url = f"http://127.0.0.1:{upstream.port}"
        async with imported(server, file, url, identity=NONE, answers={"output": output}):
            tool = server.tools["get_order"]
            decoded = tool.decode(Raw(b'{"id": "7"}'))
            assert tool.values(decoded) == {"id": "7"}
            return await tool.call(decoded, context), tool.entry.output_schema


async def test_a_strict_answer_is_held_to_the_document(tmp_path: Path) -> None:
    good, schema = await told(tmp_path, b'{"n": 1}', "strict")
    assert good.structured_content == Raw(b'{"n":1}')
    assert msgspec.json.decode(schema)["required"] == ["n"]
    bad, _ = await told(tmp_path, b'{"n": "one"}', "strict")
    assert bad.is_error is True
    assert "/n: " in bad.content[0].text
    assert bad.content[0].text.endswith('{"n":"one"}')


async def test_a_strict_answer_too_costly_to_be_compared_is_told_as_that(tmp_path: Path) -> None:
    """The pattern is the document's and the text the API's: to compare them took twenty seconds of everybody's time."""
    body = b'{"n": 1, "m": "%b"}' % (b"a" * 200_000)
    bad, _ = await told(tmp_path, body, "strict", patternProperties={"^m$": {"pattern": "(?=a)a*b"}})
    assert bad.is_error is True
    assert "too long for its pattern" in bad.content[0].text


@pytest.mark.parametrize("body", [b'{"n":"one"}', b'{"other":[1]}', b"{}"])
async def test_a_loose_answer_is_never_lost(tmp_path: Path, body: bytes) -> None:
    result, schema = await told(tmp_path, body, "loose")
    assert result.structured_content == Raw(body)
    assert "required" not in msgspec.json.decode(schema)


async def test_a_list_where_an_object_was_promised_comes_in_one(tmp_path: Path) -> None:
    result, _ = await told(tmp_path, b"[1,2]", "loose")
    assert result.structured_content == Raw(b'{"items":[1,2]}')
    plain, schema = await told(tmp_path, b"[1,2]", "off")
    assert (plain.structured_content, schema) == (Raw(b"[1,2]"), None)


async def test_the_audit_has_the_named_arguments_of_the_tools_that_take_them(tmp_path: Path) -> None:
    file = tmp_path / "doc.json"
    file.write_bytes(promising())
    server = McpServer("s")
    async with imported(server, file, "http://127.0.0.1:9", identity=NONE, audit_arguments=["id", "status"]):
        assert server.tools["get_order"].audit_arguments == ("id",)


async def test_a_document_is_fetched_from_where_the_operator_says(tmp_path: Path) -> None:
    served = document({"/orders": get("list_orders")}, servers=[{"url": "/v2"}])
    async with api(answers(200, served, content_type="application/json")) as upstream:
        server = McpServer("s")
        place: Any = f"http://127.0.0.1:{upstream.port}/spec/openapi.json"
        async with imported(server, place, "", identity=NONE) as imports:
            assert imports.request("list_orders", {}).url == f"http://127.0.0.1:{upstream.port}/v2/orders"
        upstream.acts = [answers(404)]
        with pytest.raises(UnusableDocument, match="status 404"):
            async with imported(server, place, "", identity=NONE):
                raise AssertionError


# Search


async def nothing() -> str:
    return ""


def index(**described: str) -> ToolIndex:
    return ToolIndex(Tool(nothing, name, description=text) for name, text in described.items())


SHOP = index(
    refundOrder="Pays a shipped order back.", list_orders="Orders by status.", get_product="One product by its number."
)


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("refund", "refundOrder"),
        ("REFUNDING an order", "refundOrder"),
        ("orders status", "list_orders"),
        ("prod", "get_product"),
        ("payRefundOrder", "refundOrder"),
    ],
)
def test_words_find_tools_whatever_their_case_and_ending(query: str, first: str) -> None:
    assert SHOP.find(query)[0].name == first


@pytest.mark.parametrize(
    "query", ["", "   ", '"', "*", "NEAR(", "zzz", "-", "col:zzz", "'; DROP TABLE tools; --" * 100]
)
def test_a_query_is_words_and_no_language(query: str) -> None:
    assert [one.name for one in SHOP.find(query)] == []


def test_a_large_index_is_searched_at_once() -> None:
    large = ToolIndex(Tool(nothing, f"tool_{n}", description=f"thing number {n}") for n in range(300))
    assert len(large.find("thing")) == 100
    assert large.find("299")[0].name == "tool_299"
    assert large.near("tool299x")


def test_a_name_is_compared_with_few_others_whatever_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """With all of a large API's, of long names, it held the event loop for a second."""
    compared: list[tuple[int, int]] = []
    compare = difflib.get_close_matches

    def counting(word: str, possible: Iterable[str], *more: Any) -> list[str]:
        found = list(possible)
        compared.append((len(word), len(found)))
        return compare(word, found, *more)

    monkeypatch.setattr("mcp_server.rest.search.difflib.get_close_matches", counting)
    large = ToolIndex(Tool(nothing, f"get_order_user_group_{n}") for n in range(300))
    assert "get_order_user_group_250" in large.near("get_order_user_group_250x")
    large.near("get_order_user_group_" * 1000)
    large.near("a b c d e f g h " * 1000)
    assert all(word <= 64 and others <= 128 for word, others in compared)


@pytest.mark.parametrize(("quick", "away"), [(3, False), (2, True)])
async def test_a_large_index_keeps_no_event_loop_and_answers_one_at_a_time(
    quick: int, away: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of eleven thousand tools a search took up to 450 ms."""
    monkeypatch.setattr("mcp_server.rest.search.QUICK", quick)
    threads, at_once, here = set[int](), list[int](), threading.get_ident()

    class Watched(ToolIndex):
        running = 0

        def find(self, query: str, most_terms: int = 12) -> list[Tool]:
            self.running += 1
            at_once.append(self.running)
            threads.add(threading.get_ident())
            try:
                return super().find(query, most_terms)
            finally:
                self.running -= 1

    large = Watched(SHOP.tools.values())
    found = await asyncio.gather(*(large.found("refund") for _ in range(5)))
    assert [[one.name for one in each] for each in found] == [["refundOrder"]] * 5
    assert (await large.like("refundOrders"))[0] == "refundOrder"
    assert (here in threads) is not away
    assert set(at_once) == {1}


async def test_the_four_tools_say_what_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "doc.json"
    posted = {"post": {"operationId": "make_order", "responses": {"200": {"description": "ok"}}}}
    file.write_bytes(document({"/orders": get("list_orders") | posted}))
    server = McpServer("s")

    async def run(name: str, arguments: dict[str, Any]) -> Any:
        tool = server.tools[name]
        return await tool.call(tool.decode(Raw(msgspec.json.encode(arguments))), context)

    async with imported(server, file, "http://127.0.0.1:9", identity=NONE, list="search"):
        empty = await run("search_tools", {"query": "zzz"})
        assert b"no tool has any of these words" in bytes(empty.structured_content)
        assert (await run("describe_tool", {"name": "make_order"})).structured_content
        for name, arguments, text in (
            ("call_tool", {"name": "make"}, "there is no tool 'make'"),
            ("call_read_tool", {"name": "make_order"}, "make_order may change something"),
            ("call_read_tool", {"name": "zzz"}, "there is no tool 'zzz'"),
            ("describe_tool", {"name": "list_order"}, "did you mean list_orders"),
        ):
            with pytest.raises(ToolError, match=text):
                await run(name, arguments)
        delegate = server.tools["call_read_tool"].delegate
        assert delegate is not None
        assert delegate(Raw(b'{"name": "make_order"}')) is None
        assert delegate(Raw(b'{"name": "list_orders"}')) is not None
        assert delegate(msgspec.UNSET) is None


# What an operator hears of answers that break their document


@pytest.fixture
def logged() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lambda line: lines.append(str(line)), format="{message} {extra}", level="WARNING")
    yield lines
    logger.remove(sink)


def drifting(told: list[float], shape: dict[str, Any] | None) -> DriftCheck:
    made = None if shape is None else msgspec.json.encode(shape)
    return DriftCheck("shop", "get_order", lambda: made, lambda: told[0])


async def looked(check: DriftCheck, body: bytes, **more: Any) -> float:
    """How many answers are counted after this one."""
    check.look(WireAnswer(status=200, body=body, **more))
    await asyncio.gather(*drift._running)
    return REGISTRY.get_sample_value("mcp_answers_not_as_documented_total", {"tool": "get_order"}) or 0


SHAPE: dict[str, Any] = {"type": "object", "properties": {"n": {"type": "integer"}}}


async def test_one_answer_at_a_time_is_compared_whatever_tool_it_is_of() -> None:
    """Each is decoded and walked in a thread: those of a thousand tools at once would be all of the processor."""
    made, clock = list[str](), [100.0]

    def checking(tool: str) -> DriftCheck:
        return DriftCheck("shop", tool, lambda: made.append(tool), lambda: clock[0])

    checks = [checking(f"tool_{n}") for n in range(5)]
    for check in checks:
        check.look(WireAnswer(status=200, body=b"{}"))
    assert len(drift._running) == 1
    await asyncio.gather(*drift._running)
    assert made == ["tool_0"]
    await looked(checks[1], b"{}")  # whose turn was not taken
    assert made == ["tool_0", "tool_1"]


async def test_an_answer_that_breaks_its_document_is_logged_once_a_minute_and_counted(logged: list[str]) -> None:
    clock = [100.0]
    check = drifting(clock, SHAPE)
    before = await looked(check, b'{"n": 1}')
    clock[0] += EVERY_S
    assert await looked(check, b'{"n": "alice@example.com"}') == before + 1
    assert await looked(check, b'{"n": "again"}') == before + 1  # it was nobody's turn
    clock[0] += EVERY_S
    assert await looked(check, b'{"n": "again"}') == before + 2
    clock[0] += TOLD_EVERY_S
    assert await looked(check, b'{"n": "again"}') == before + 3
    lines = [line for line in logged if "not what its document says" in line]
    assert len(lines) == 2
    assert "/properties/n/type" in lines[0]
    assert "alice" not in "".join(logged)


@pytest.mark.parametrize(
    ("shape", "body", "more"),
    [
        (None, b'{"n": "one"}', {}),
        ({"type": "nothing"}, b'{"n": "one"}', {}),
        (SHAPE, b"<html>", {}),
        (SHAPE, b"", {}),
        (SHAPE, b'{"n": "%b"}' % (b"x" * MOST_BYTES), {}),
        (SHAPE, b'{"n": "one"}', {"cut": True}),
        ({"properties": {"n": {"pattern": "(?=a)a*b"}}}, b'{"n": "%b"}' % (b"a" * 60_000), {}),
    ],
)
async def test_what_cannot_be_compared_is_not(shape: Any, body: bytes, more: Any, logged: list[str]) -> None:
    clock = [100.0]
    check = drifting(clock, shape)
    before = await looked(check, b"1" if shape is None else b"{}")
    clock[0] += 100
    assert await looked(check, body, **more) == before
    check.look(WireAnswer(status=404, body=b'{"n": "one"}'))
    assert not drift._running
    assert not logged


@pytest.mark.parametrize("output", ["loose", "strict", "off"])
async def test_loose_answers_are_compared_with_all_that_is_documented(
    tmp_path: Path, output: str, logged: list[str]
) -> None:
    await told(tmp_path, b'{"n": 1, "m": "x"}', output, minProperties=3)
    await asyncio.gather(*drift._running)
    assert any("/minProperties" in line for line in logged) is (output == "loose")


async def test_the_tool_of_an_operation_has_its_limits(tmp_path: Path) -> None:
    (file := tmp_path / "openapi.json").write_bytes(document({"/orders": get("list_orders")}))
    server = McpServer("s")
    operations = {"list_orders": {"limits": ["30/m per principal"]}}
    async with imported(server, file, "http://127.0.0.1:9", identity=NONE, operations=operations):
        assert [one.text for one in server.tools["list_orders"].bounds.limits] == ["30/m per principal"]
