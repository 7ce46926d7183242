"""Limits that an author, an operator or `mcp.toml` states: how they are told over HTTP in both eras, and on stdio."""

from pathlib import Path
from typing import Any

from mcp_server import McpServer
from mcp_server.engine.limiting import CallLimits, StatedLimits
from mcp_server.limits.limiter import Limiter
from mcp_server.limits.rule import bounds
from mcp_server.observe import metrics
from tests.kit import wire
from tests.kit.servers.pipe import call, piped
from tests.kit.stack import running_stack

server = McpServer("stated")


@server.tool(limits="1/h per principal", public=True)
async def rare() -> str:
    """Answer."""
    return "rare"


@server.tool(limits=["1/h"])
async def often() -> str:
    """Answer, as often as the operator says and not the author."""
    return "often"


@server.tool()
async def plain() -> str:
    """Answer."""
    return "plain"


LIMITS = '{"*": ["9/day per client"], "often": ["3/h burst 2"], "gone": ["1/s"]}'


def called(tool: str, *, modern: bool = True) -> tuple[dict[str, Any], dict[str, str]]:
    if modern:
        return wire.modern("tools/call", {"name": tool}, 7), wire.headers("tools/call", tool)
    return wire.legacy("tools/call", {"name": tool}, 7), {"mcp_protocol_version": "2025-11-25"}


async def test_a_caller_over_a_stated_limit_is_told_by_header_and_body_in_both_eras(tmp_path: Path) -> None:
    before = metrics.exposition().decode()
    async with running_stack(tmp_path, server, limits=LIMITS, ratelimit_headers="true") as stack:
        alice, bob = await stack.token("alice"), await stack.token("bob")
        stack.stop_clocks()
        message, headers = called("often")
        for left in (1, 0):
            good = await stack.post(message, alice, **headers)
            assert good.status_code == 200
            assert '"3/h burst 2";q=2;w=2400' in good.headers["ratelimit-policy"]
            assert f'"3/h burst 2";r={left};t=' in good.headers["ratelimit"]
            assert '"100/s burst 501 per principal";q=501;w=6' in good.headers["ratelimit-policy"]
        for modern in (True, False):
            message, headers = called("often", modern=modern)
            refused = await stack.post(message, bob, **headers)  # it counts for all together
            wait = int(refused.headers["retry-after"])
            assert (refused.status_code, 1195 <= wait <= 1200) == (429, True)
            text = f"too many calls (3/h burst 2); try again in {wait} s"
            error = {"code": -31002, "message": text, "data": {"retryAfter": wait}}
            assert (refused.json()["error"], refused.json()["id"]) == (error, 7)
            assert '"3/h burst 2";r=0;t=' in refused.headers["ratelimit"]
        for who in (alice, bob, None):
            message, headers = called("rare")
            assert [(await stack.post(message, who, **headers)).status_code for _ in range(2)] == [200, 429]
        message, headers = called("plain")
        answers = [await stack.post(message, alice, **headers) for _ in range(9)]
        assert [one.status_code for one in answers] == [200] * 5 + [429] * 4, "its client has called four times before"
        assert (
            answers[-1].json()["error"]["message"].startswith("the quota is used up (9/day per client); try again in ")
        )
        found = {one["reason"] for one in stack.audited() if one.get("reason", "").endswith(("fast", "used"))}
        assert found == {"tool_too_fast", "client_quota_used"}
    after = metrics.exposition().decode()
    for scope in ("tool", "client"):
        name = f'mcp_limited_total{{scope="{scope}"}}'
        assert name in after
        assert [line for line in after.splitlines() if name in line] != [
            line for line in before.splitlines() if name in line
        ]


async def test_on_stdio_a_caller_is_told_the_same() -> None:
    stated = CallLimits(StatedLimits(tools={"grow": bounds("1/h per principal")}), Limiter())
    async with piped(limits={"stated": stated}) as client:
        first, second = [await client.ask(call("grow", number)) for number in range(2)]
    assert "result" in first
    wait = second["error"]["data"]["retryAfter"]
    assert 3595 <= wait <= 3600
    assert second["error"]["message"] == f"too many calls (1/h per principal); try again in {wait} s"
