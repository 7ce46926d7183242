"""Whatever stands in an argument, the challenge that it ends up in asks for one scope, its own."""

import asyncio
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loguru import logger

from mcp_server import Context, McpServer, NeedsScopes, Scope
from tests.kit import wire
from tests.kit.inside import Reply, caller, inside

REFUND = "orders:refund:{order_id}"
HELD = ["mcp:read", "orders:refund:4", "orders:refund:%2A"]
OPENED = {"declared": {"4", "*"}, "told": {"4", "*"}, "written": {"4"}, "raised": {"4", "*"}}
"""What the scopes of the orders 4 and * open; written out by an author a scope has no percent."""
ran: list[str] = []


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    server = McpServer("orders", scopes=[Scope("mcp:read"), Scope("mcp:admin"), Scope(REFUND)])

    async def refund(order_id: str) -> str:
        ran.append(order_id)
        return "done"

    server.tool("declared", scopes={REFUND})(refund)
    server.tool("told", scopes=lambda arguments, who: {REFUND})(refund)
    server.tool("written", scopes=lambda arguments, who: {f"orders:refund:{arguments['order_id']}"})(refund)

    @server.tool("raised", scopes={"mcp:read"})
    async def raised(order_id: str, ctx: Context) -> str:
        if not ctx.holds({REFUND}, order_id=order_id):
            raise NeedsScopes({REFUND})
        return await refund(order_id)

    return lambda: inside(server, tmp_path, monkeypatch, parameterized_scopes="true")


HOSTILE = st.text(max_size=60) | st.text(alphabet='%:{}* "\\\r\n\t\x00\x1c\u2003,=admin42', max_size=40)


@settings(
    max_examples=35, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)
@given(value=HOSTILE)
def test_no_value_yields_another_scope_a_second_header_or_a_line(value: str, start: Any) -> None:
    asyncio.run(_challenge(value, start))


@pytest.mark.parametrize(
    "value", ["x" * 900_000, "%2A", "*", "4", "\n" * 900_000, 'a", scope="mcp:admin', "42 mcp:admin", "a\r\nX: y"]
)
async def test_hostile_values_yield_no_challenge(value: str, start: Any) -> None:
    logged: list[str] = []
    sink = logger.add(lambda line: logged.append(str(line)), level="INFO", diagnose=False)
    try:
        await _challenge(value, start)
    finally:
        logger.remove(sink)
    assert all(len(line) < 10_000 and value not in line for line in logged if len(value) > 1000)


async def _challenge(value: str, start: Any) -> None:
    async with start() as running:
        running.who = caller(HELD)
        for tool, opened in OPENED.items():
            ran.clear()
            message = wire.modern("tools/call", {"name": tool, "arguments": {"order_id": value}})
            answer = await running.post(message, **wire.headers("tools/call", tool))
            (line,) = running.audited()
            assert ran == ([value] if value in opened else [])
            if not ran:
                check(tool, answer, line)


def check(tool: str, answer: Reply, line: dict[str, Any]) -> None:
    if answer.status == 200:
        assert answer.body["result"]["isError"]
        assert line.get("needed", []) == (["mcp:read"] if tool == "raised" else [])
        return
    assert answer.status == 403
    assert len(json.dumps(line)) < 1200
    if not answer.challenge:
        assert (tool, line["reason"]) == ("written", "scopes_undecided")
        return
    (asked,) = answer.scopes()
    assert re.fullmatch(r"orders:refund:(?:[A-Za-z0-9._~-]|%[0-9A-F]{2})+", asked)
    assert answer.challenge.isascii()
    assert answer.challenge.isprintable()
    assert line["needed"] == [asked]
