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

from mcp_server import McpServer
from tests.kit import wire
from tests.kit.inside import caller, inside

ran: list[str] = []


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    server = McpServer("orders")

    @server.tool(scopes={"orders:refund:{order_id}"})
    async def refund(order_id: str) -> str:
        ran.append(order_id)
        return "done"

    return lambda: inside(server, tmp_path, monkeypatch, parameterized_scopes="true")


HOSTILE = st.text(max_size=60) | st.text(alphabet='%:{}* "\\\r\n\t\x00\x1c\u2003,=admin42', max_size=40)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(value=HOSTILE)
def test_no_value_yields_another_scope_a_second_header_or_a_line(value: str, start: Any) -> None:
    asyncio.run(_challenge(value, start))


@pytest.mark.parametrize("value", ["x" * 900_000, "\n" * 900_000, 'a", scope="mcp:admin', "42 mcp:admin", "a\r\nX: y"])
async def test_hostile_values_yield_no_challenge(value: str, start: Any) -> None:
    await _challenge(value, start)


async def _challenge(value: str, start: Any) -> None:
    ran.clear()
    async with start() as running:
        running.who = caller(["mcp:read", "orders:refund:4"])
        message = wire.modern("tools/call", {"name": "refund", "arguments": {"order_id": value}})
        answer = await running.post(message, **wire.headers("tools/call", "refund"))
        lines = running.audited()
        assert len(lines) == 1
        if value == "4":
            assert answer.status == 200
            return
        assert ran == []
        if answer.status == 200:
            assert answer.body["result"]["isError"]
            assert lines[0].get("needed", []) == []
            return
        (asked,) = answer.scopes()
        assert re.fullmatch(r"orders:refund:(?:[A-Za-z0-9._~-]|%[0-9A-F]{2})+", asked)
        assert answer.challenge.isascii()
        assert answer.challenge.isprintable()
        assert lines[0]["needed"] == [asked]
        assert len(json.dumps(lines[0])) < 1200
