"""A run whose time is over before its first step, on each of the loops that a server may run on."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import uvloop

from mcp_server import McpServer
from tests.kit.backends import until
from tests.kit.calls import answer, call, serving
from tests.kit.deaf import TASKS
from tests.kit.principals import principal

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.mark.parametrize("loop", LOOPS)
def test_it_says_that_it_took_too_long(loop: str) -> None:
    """uvloop runs what is due before what has not begun: cancelled there, it said nothing until its lease was over."""
    make: Callable[[], asyncio.AbstractEventLoop] = LOOPS[loop]
    with asyncio.Runner(loop_factory=make) as runner:
        assert runner.run(_told()) == "The task took too long"


async def _told() -> str:
    server, who, found = McpServer("s"), principal(), dict[str, Any]()

    @server.tool(task="allowed")
    async def waits() -> str:
        await asyncio.Event().wait()
        return ""

    async with serving(server) as (pipeline, told):
        begin = pipeline.runtime.tasks._runner.begin

        def late(running: Any, *given: Any) -> None:
            running.left_s = -3600.0  # also longer ago than a swallowed cancellation waits for the next
            begin(running, *given)

        pipeline.runtime.tasks._runner.begin = late  # type: ignore[assignment, method-assign]
        made = await pipeline.serve(call("tools/call", {"name": "waits", "arguments": {}}, who=who, capabilities=TASKS))
        task = {"taskId": answer(made)["result"]["taskId"]}

        async def over() -> bool:
            got = await pipeline.serve(call("tasks/get", task, who=who, capabilities=TASKS))
            found.update(answer(got)["result"])
            return bool(found["status"] != "working")

        async with asyncio.timeout(60):
            await until(over)
        assert [line.reason for line in told.notes if line.method == "task"] == ["task_failed"]
    return str(found["error"]["message"])
