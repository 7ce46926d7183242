"""Handlers that speak before their result, and the calls that make them."""

import asyncio
import json
from typing import Any

from mcp_server import Context, McpServer
from tests.kit import wire
from tests.kit.stack import Stack

server = McpServer("streams")
LEGACY = "2025-11-25"


class Gate:
    """Something a handler waits for, and what became of the handler."""

    def __init__(self) -> None:
        self.opened, self.begun, self.ended = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.fate = ""


gates: dict[str, Gate] = {}


@server.tool()
async def wait(name: str, ctx: Context) -> str:
    """Speak, wait for the gate, speak again."""
    gate = gates[name]
    gate.begun.set()
    try:
        await ctx.progress(1, 2, "begun")
        await gate.opened.wait()
        await ctx.progress(2, 2, "done")
        gate.fate = "finished"
    except asyncio.CancelledError:
        gate.fate = "cancelled"
        raise
    finally:
        gate.ended.set()
    return "waited"


@server.tool()
async def say(levels: list[str], ctx: Context) -> str:
    """Log a line at each level."""
    for level in levels:
        await ctx.log(level, {"at": level}, "say")  # type: ignore[arg-type]
    return "said"


@server.tool()
async def steps(values: list[float], ctx: Context) -> str:
    """Report these values."""
    for value in values:
        await ctx.progress(value)
    return "reported"


@server.tool()
async def flood(count: int, size: int, ctx: Context) -> int:
    """Say a great deal."""
    for number in range(count):
        await ctx.log("info", "x" * size)
        server.state["sent"] = number
    return count


@server.tool()
async def linger(name: str, ctx: Context) -> str:
    """Answer, and leave something running that goes on speaking."""

    async def late() -> None:
        gate = gates[name]
        await gate.opened.wait()
        try:
            await ctx.progress(1)
            await ctx.log("error", "late")
            await ctx.pause()
            gate.fate = "silent"
        except Exception as error:  # noqa: BLE001 - whatever it is, the test shows it
            gate.fate = repr(error)
        gate.ended.set()

    server.state[name] = asyncio.create_task(late())
    return "answered"


@server.tool()
async def last_words(name: str, ctx: Context, *, first: bool = True) -> str:
    """Speak when cancelled."""
    gate = gates[name]
    if first:
        await ctx.progress(1)
    gate.begun.set()
    try:
        await asyncio.Event().wait()
    finally:
        await ctx.progress(2)
        gate.ended.set()
    return ""


def name_of(gate: Gate) -> str:
    return next(name for name, one in gates.items() if one is gate)


def call(
    tool: str, arguments: dict[str, Any], request_id: Any = 1, **meta: Any
) -> tuple[dict[str, Any], dict[str, str]]:
    message = wire.modern("tools/call", {"name": tool, "arguments": arguments}, request_id)
    message["params"]["_meta"] |= meta
    return message, wire.headers("tools/call", tool)


def legacy_call(tool: str, arguments: dict[str, Any], request_id: Any = 1, **meta: Any) -> dict[str, Any]:
    return wire.legacy("tools/call", {"name": tool, "arguments": arguments, "_meta": meta}, request_id)


async def session(stack: Stack, token: str, revision: str = LEGACY) -> dict[str, str]:
    answer = await stack.post(wire.legacy("initialize", wire.INITIALIZE | {"protocolVersion": revision}), token)
    return {"mcp_session_id": answer.headers["mcp-session-id"], "mcp_protocol_version": revision}


def messages(text: str) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ") and line != "data: "]
