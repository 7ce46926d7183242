"""The table of a call's needs: what is called × how it says what it needs × the transport × what the caller holds.

Each cell is one call: its status, its challenge, its line in the audit, and whether the handler did anything.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mcp_server import Context, McpServer, NeedsScopes, Principal, any_of
from tests.kit import wire
from tests.kit.backends import settle
from tests.kit.inside import Inside, Reply, caller, inside

TARGETS = ("tool", "resource", "template", "prompt", "completion", "task", "batch item")
KINDS = ("set", "alternatives", "parameterized", "function", "raised")
HOLDINGS = ("nothing", "part", "all", "wrong parameter")
LEGACY, BATCHING = "2025-11-25", "2025-03-26"
TRANSPORTS = (("http", wire.MODERN), ("http", LEGACY), ("stdio", wire.MODERN), ("stdio", LEGACY))
TASKS: dict[str, Any] = {"extensions": {"io.modelcontextprotocol/tasks": {}}}
STATIC = {"t:read", "t:write"}
MADE = {"t:read", "t:item:42"}
PATTERNS = {"t:read", "t:item:{item}"}
ran: list[str] = []


def told(arguments: Mapping[str, Any], who: Principal) -> set[str]:
    """A function of scopes."""
    assert who.subject == "user"
    return PATTERNS if arguments else MADE  # a fixed resource has no arguments


NEEDS: dict[str, Any] = {
    "set": STATIC,
    "alternatives": any_of({"t:a", "t:b", "t:c"}, STATIC),
    "parameterized": PATTERNS,
    "function": told,
    "raised": {"base"},
}


def finds_out(kind: str, ctx: Context, item: str) -> None:
    """What a handler does that finds out for itself."""
    assert ctx.principal is not None
    if kind == "raised" and not {"t:read", f"t:item:{item}"} <= ctx.principal.scopes:
        raise NeedsScopes(PATTERNS, item=item)
    ran.append(item)


def made(kind: str) -> McpServer:
    server, needs = McpServer("table"), NEEDS[kind]

    @server.tool(scopes=needs)
    async def tool(item: str, ctx: Context) -> str:
        finds_out(kind, ctx, item)
        return "done"

    @server.tool(scopes=needs, task="allowed")
    async def task(item: str, ctx: Context) -> str:
        finds_out(kind, ctx, item)
        return "done"

    if kind != "parameterized":

        @server.resource("t://fixed", scopes=needs, name="fixed")
        async def fixed(ctx: Context) -> str:
            finds_out(kind, ctx, "42")
            return "done"

    @server.resource("t://of/{item}", scopes=needs, name="template")
    async def template(item: str, ctx: Context) -> str:
        finds_out(kind, ctx, item)
        return "done"

    @server.prompt("prompt", scopes=needs)
    async def prompt(item: str, ctx: Context, tone: str = "") -> str:
        finds_out(kind, ctx, item)
        return "done"

    @server.completion("prompt", "tone")
    async def tones(value: str, arguments: dict[str, str], ctx: Context) -> list[str]:
        finds_out(kind, ctx, arguments["item"])
        return ["warm"]

    return server


def message(target: str, item: str, revision: str) -> tuple[Any, dict[str, str]]:
    """The request, and the headers that repeat it."""
    uri = f"t://of/{item.replace(' ', '%20')}" if target == "template" else "t://fixed"
    ref = {"ref": {"type": "ref/prompt", "name": "prompt"}, "argument": {"name": "tone", "value": ""}}
    calls: dict[str, tuple[str, dict[str, Any], str | None]] = {
        "tool": ("tools/call", {"name": "tool", "arguments": {"item": item}}, "tool"),
        "batch item": ("tools/call", {"name": "tool", "arguments": {"item": item}}, "tool"),
        "task": ("tools/call", {"name": "task", "arguments": {"item": item}}, "task"),
        "resource": ("resources/read", {"uri": uri}, uri),
        "template": ("resources/read", {"uri": uri}, uri),
        "prompt": ("prompts/get", {"name": "prompt", "arguments": {"item": item}}, "prompt"),
        "completion": ("completion/complete", {**ref, "context": {"arguments": {"item": item}}}, None),
    }
    method, params, name = calls[target]
    if revision != wire.MODERN:
        request = wire.legacy(method, params)
        return ([request] if target == "batch item" else request), {"mcp_protocol_version": revision}
    request = wire.modern(method, params)
    if target == "task":
        request["params"]["_meta"][f"{wire.PREFIX}clientCapabilities"] = TASKS
    return request, wire.headers(method, name)


def scopes_held(kind: str, holding: str) -> set[str]:
    whole = STATIC if kind in ("set", "alternatives") else MADE
    held = {"nothing": set(), "part": {"t:read"}, "all": whole, "wrong parameter": whole}[holding]
    return {"base", "other", *held}


async def called(running: Inside, transport: str, revision: str, target: str, item: str) -> Reply:
    sent, headers = message(target, item, revision)
    reply = await (running.post(sent, **headers) if transport == "http" else running.pipe(sent, revision))
    if isinstance(reply.body, list):
        (reply.body,) = reply.body
    return reply


async def ended(running: Inside, transport: str, created: Reply) -> dict[str, Any]:
    """The task as it ended."""
    params = {"taskId": created.body["result"]["taskId"]}
    request = wire.modern("tasks/get", params)
    request["params"]["_meta"][f"{wire.PREFIX}clientCapabilities"] = TASKS
    headers = wire.headers("tasks/get", params["taskId"])
    await settle()
    asked = running.post(request, **headers) if transport == "http" else running.pipe(request, wire.MODERN)
    found: dict[str, Any] = (await asked).body["result"]
    assert found["status"] in ("completed", "failed")
    return found


def cells(target: str) -> list[tuple[str, str]]:
    """Tasks are of the modern era alone, batches of one legacy revision."""
    if target == "task":
        return [one for one in TRANSPORTS if one[1] == wire.MODERN]
    return [("http", BATCHING), ("stdio", BATCHING)] if target == "batch item" else list(TRANSPORTS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("target", TARGETS)
async def test_a_call_gets_what_the_table_says(
    target: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if (target, kind) == ("resource", "parameterized"):
        with pytest.raises(ValueError, match=r"'item' of scope 't:item:\{item\}' is no argument"):
            McpServer("x").resource("t://fixed", name="x", scopes=PATTERNS)(lambda: "")
        return
    async with inside(made(kind), tmp_path, monkeypatch, parameterized_scopes="true") as running:
        for holding in HOLDINGS:
            if target == "resource" and holding == "wrong parameter":
                continue
            for transport, revision in cells(target):
                ran.clear()
                running.who = caller(scopes_held(kind, holding))
                running.audited()
                item = "4 2" if holding == "wrong parameter" else "42"
                reply = await called(running, transport, revision, target, item)
                if target == "task" and "taskId" in reply.body.get("result", {}):
                    reply.body = task_as_answer(await ended(running, transport, reply))
                check(reply, running.audited(), (target, kind, holding, transport))


def task_as_answer(task: dict[str, Any]) -> dict[str, Any]:
    if task["status"] == "failed":
        return {"error": task["error"], "task": True}
    return {"result": task["result"], "task": True}


def check(reply: Reply, audit: list[dict[str, Any]], cell: tuple[str, str, str, str]) -> None:
    target, kind, holding, transport = cell
    line = next(one for one in audit if one["method"] not in ("initialize", "tasks/get", "task"))
    needed = STATIC if kind in ("set", "alternatives") else MADE
    if holding == "all" or (holding == "wrong parameter" and kind in ("set", "alternatives")):
        assert ("error" in reply.body, ran) == (False, ["42" if holding == "all" else "4 2"]), cell
        assert reply.status == (200 if transport == "http" else 0)
        assert line["decision"] == "allow"
        assert set(line["needed"]) == ({"base"} if kind == "raised" else needed), cell
        return
    assert ran == [], cell
    if holding == "wrong parameter":
        assert not reply.challenge, cell
        assert reply.status in (0, 200), cell
        assert "item: has a blank" in text_of(reply), cell
        return
    if target == "task" and kind == "raised":  # it has begun, and its id has been told
        assert reply.body["error"]["message"] == "insufficient scope: t:item:42 t:read"
        assert [one["reason"] for one in audit if one["method"] == "task"] == ["task_failed"]
        return
    assert (line["decision"], line["reason"], set(line["needed"])) == ("deny", "insufficient_scope", needed), cell
    assert reply.body["error"]["code"] == -31001
    if transport == "stdio":
        assert reply.body["error"]["message"] == f"insufficient scope: {' '.join(sorted(needed))}"
        return
    assert reply.status == 403, cell
    assert 'error="insufficient_scope"' in reply.challenge
    assert "resource_metadata=" in reply.challenge
    held = {"base", "t:read", "other"} if kind == "function" else {"base", "t:read"}  # what it may name nobody knows
    assert needed <= reply.scopes() <= needed | held, cell


def text_of(reply: Reply) -> str:
    """What the client is told."""
    if "error" in reply.body:
        assert reply.body["error"]["code"] == -32602
        return str(reply.body["error"]["message"])
    result = reply.body["result"]
    assert result["isError"]
    return str(result["content"][0]["text"])
