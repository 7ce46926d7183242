"""A call that says nothing for long: its stream opens by itself, so that no proxy takes the connection for dead."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from mcp_server import McpServer, ToolError
from tests.kit import wire
from tests.kit.stack import Stack, running_stack

BOTH = "application/json, text/event-stream"
gates: dict[str, asyncio.Event] = {}
server = McpServer("silent")


@server.tool()
async def think(name: str, fails: bool = False) -> str:
    """Say nothing until the gate opens."""
    await gates[name].wait()
    if fails:
        raise ToolError("thought in vain")
    return "thought"


@pytest.fixture(scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    folder: Path = tmp_path_factory.mktemp("silent")
    async with running_stack(folder, server, keep_alive_s="0.1") as running:
        yield running


def asked(name: str, *, modern: bool, accept: str, **arguments: Any) -> dict[str, Any]:
    params = {"name": "think", "arguments": {"name": name, **arguments}}
    message = wire.modern("tools/call", params) if modern else wire.legacy("tools/call", params)
    named = wire.headers("tools/call", "think") if modern else {"mcp_protocol_version": "2025-11-25"}
    headers = {name.replace("_", "-"): value for name, value in named.items()} | {"accept": accept}
    return {"json": message, "headers": headers}


@pytest.mark.parametrize("modern", [True, False])
@pytest.mark.parametrize("accept", [BOTH, "text/event-stream"])
@pytest.mark.parametrize("fails", [True, False])
async def test_bytes_come_before_the_answer(stack: Stack, modern: bool, accept: str, fails: bool) -> None:
    name = f"{modern}-{accept}-{fails}"
    gates[name] = asyncio.Event()
    token = await stack.token("alice")
    request = asked(name, modern=modern, accept=accept, fails=fails)
    request["headers"]["authorization"] = f"Bearer {token}"
    async with (
        httpx.AsyncClient(trust_env=False, timeout=20) as client,
        client.stream("POST", stack.resource, **request) as answer,
    ):
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream")
        assert answer.headers["connection"] == "close"  # it lasts, and a stop has to be able to end it
        chunks = answer.aiter_bytes()
        assert (await anext(chunks)).startswith(b":")
        gates[name].set()
        rest = b"".join([chunk async for chunk in chunks])
    (data,) = [line for line in rest.split(b"\n") if line.startswith(b"data: ")]
    result = json.loads(data.removeprefix(b"data: "))["result"]
    assert result["content"][0]["text"] == ("thought in vain" if fails else "thought")


async def test_who_takes_no_stream_gets_its_json_in_the_end(stack: Stack) -> None:
    gates["json"] = asyncio.Event()
    request = asked("json", modern=False, accept="application/json")
    request["headers"]["authorization"] = f"Bearer {await stack.token('alice')}"
    async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
        waiting = asyncio.create_task(client.post(stack.resource, **request))
        other = asked("both", modern=False, accept=BOTH)
        other["headers"]["authorization"] = request["headers"]["authorization"]
        gates["both"] = asyncio.Event()
        async with client.stream("POST", stack.resource, **other) as begun:  # a call of the same age has its stream
            assert (await anext(begun.aiter_bytes())).startswith(b":")
            gates["both"].set()
        gates["json"].set()
        answer = await waiting
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["result"]["content"][0]["text"] == "thought"
