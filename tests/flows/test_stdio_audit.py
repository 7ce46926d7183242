"""The audit of a pipe: a line for each call, and for what is none."""

import json
from pathlib import Path

import msgspec

from mcp_server.limits.rate import RateLimiter
from tests.kit import wire
from tests.kit.principals import principal
from tests.kit.servers.pipe import call, piped


async def test_what_happens_on_a_pipe_is_audited_and_counted(tmp_path: Path) -> None:
    audit = tmp_path / "audit.jsonl"
    narrow = msgspec.structs.replace(principal(), expires_at=float("inf"))
    async with piped(narrow, audit=audit) as client:
        for tool in ("annotated", "admin", "none"):
            await client.ask(call(tool))
        client.say(call("wait", "w"))
        client.say({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "w"}})
        await client.ask(wire.modern("tools/list"))
    async with piped(principal(), audit=audit) as client:
        await client.ask(call("ask"))
    lines = [json.loads(one) for one in audit.read_text().splitlines()]
    assert [(one["decision"], one.get("tool", ""), one.get("reason", "")) for one in lines] == [
        ("allow", "annotated", "tool_error"),
        ("deny", "admin", "insufficient_scope"),
        ("deny", "", "-32602"),
        ("allow", "wait", "cancelled"),
        ("allow", "", ""),
        ("deny", "", "expired"),
    ]
    assert len({one["request_id"] for one in lines[:5]}) == 5
    assert {one["subject"] for one in lines} == {"user"}


async def test_what_is_no_call_on_a_pipe_leaves_a_line_as_well(tmp_path: Path) -> None:
    audit = tmp_path / "audit.jsonl"
    slow = {"messages": RateLimiter(2, lambda: 0.0)}
    async with piped(audit=audit, limits=slow) as client:
        for line in (b"rubbish", b"[1]", *([b"{}"] * 40)):
            client.say(line)
            await client.hear()
    lines = [json.loads(one) for one in audit.read_text().splitlines()]
    assert [one["reason"] for one in lines[:3]] == ["-32700", "-32600", "-32600"]
    assert (len(lines), lines[-1]["reason"]) == (42, "too_fast")
    assert {one["decision"] for one in lines} == {"deny"}
    assert all(one["subject"] for one in lines)
