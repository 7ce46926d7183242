"""A call that is over leaves nothing to the collector of garbage, however it ended: its arguments may be megabytes."""

import asyncio
import gc
import sys
import weakref
from typing import Any

import pytest

from mcp_server import Context, McpServer, NeedsScopes, ProtocolError, ToolError
from mcp_server.protocol.types.tasks import EXTENSION
from tests.kit.backends import settle, until
from tests.kit.calls import Channel, answer, call, serving
from tests.kit.inside import caller

WHO = caller({"mcp:read"})
server = McpServer("s")


@server.tool()
async def quick(text: str, count: int = 1) -> str:
    return text[:count]


@server.tool()
async def refuses(text: str) -> str:
    raise ToolError("no")


@server.tool()
def refuses_in_a_thread(text: str) -> str:
    raise ToolError("no")


@server.tool()
def finds_nothing_in_a_thread(text: str) -> str:
    return next(one for one in ("a", "b") if one == text)


@server.tool()
def leaves_in_a_thread(text: str) -> str:
    sys.exit(1)


@server.tool()
async def refuses_in_a_group(text: str) -> str:
    async with asyncio.TaskGroup() as group:
        group.create_task(refuses(text))
    return text


@server.tool()
async def protests(text: str) -> str:
    raise ProtocolError(-1, "no")


@server.tool()
async def crashes(text: str) -> str:
    raise RuntimeError("no")


@server.tool()
async def leaves(text: str) -> str:
    sys.exit(1)


@server.tool()
async def wants_more(text: str) -> str:
    raise NeedsScopes({"mcp:admin"})


@server.tool(scopes={"orders:{text}"})
async def judged(text: str) -> str:
    return text


@server.tool()
async def asks(text: str, ctx: Context) -> str:
    return (await ctx.elicit("Sure?", {"type": "object", "properties": {"a": {"type": "string"}}})).action


@server.tool(input_schema={"type": "object", "properties": {"text": {"type": "integer"}}})
async def by_schema(arguments: dict[str, Any]) -> str:
    return "done"


@server.tool(task="allowed")
async def runs_on(text: str) -> str:
    if text == "fails":
        raise ToolError("no")
    await asyncio.Event().wait()
    return text


@server.prompt()
async def fails(text: str) -> str:
    raise ToolError("no")


@server.resource("fails://{text}")
async def read(text: str) -> str:
    raise RuntimeError("no")


def tool(name: str, **arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": {"text": "x", **arguments}}


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("tools/call", tool("quick")),
        ("tools/call", tool("quick", count="many")),
        ("tools/call", tool("quick", unknown=1)),
        ("tools/call", tool("no_such_tool")),
        ("tools/call", tool("refuses")),
        ("tools/call", tool("refuses_in_a_thread")),
        ("tools/call", tool("finds_nothing_in_a_thread")),
        ("tools/call", tool("leaves_in_a_thread")),
        ("tools/call", tool("refuses_in_a_group")),
        ("tools/call", tool("protests")),
        ("tools/call", tool("crashes")),
        ("tools/call", tool("leaves")),
        ("tools/call", tool("wants_more")),
        ("tools/call", tool("judged")),
        ("tools/call", tool("judged", text="a b")),
        ("tools/call", tool("asks")),
        ("tools/call", tool("by_schema")),
        ("prompts/get", {"name": "fails", "arguments": {"text": "x"}}),
        ("resources/read", {"uri": "fails://x"}),
    ],
)
async def test_a_call_ends_with_its_answer(method: str, params: dict[str, Any]) -> None:
    async with serving(server, parameterized_scopes=True) as (pipeline, _):

        async def let_go() -> bool:
            return gone() is None

        channel = Channel()
        channel.supervisor = pipeline.supervisor()
        gc.disable()
        try:
            made = call(method, params, channel=channel, capabilities={"elicitation": {}})
            await pipeline.serve(made)
            gone = weakref.ref(channel)
            del channel, made
            await until(let_go)  # a thread has it until it has turned to the next call; a circle for ever
        finally:
            gc.enable()


@pytest.mark.parametrize("text", ["fails", "is cancelled"])
async def test_a_task_ends_with_its_run(text: str) -> None:
    can: dict[str, Any] = {"extensions": {EXTENSION: {}}}
    async with serving(server) as (pipeline, _):
        channel = Channel(WHO.key)
        gc.disable()
        try:
            made = call("tools/call", tool("runs_on", text=text), who=WHO, channel=channel, capabilities=can)
            task_id = answer(await pipeline.serve(made))["result"]["taskId"]
            gone = weakref.ref(channel)
            del channel, made
            await settle()
            if text == "is cancelled":
                assert gone() is not None
                await pipeline.serve(call("tasks/cancel", {"taskId": task_id}, who=WHO, capabilities=can))
                await settle()
            assert gone() is None
        finally:
            gc.enable()
