"""Races in the life of a task: cancelled while its handler returns, a question that is given up, a second start."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from mcp_server.authoring.interaction import Question
from mcp_server.protocol.types.content import TextContent
from mcp_server.protocol.types.inputs import InputRequest
from mcp_server.protocol.types.tools import CallToolResult
from mcp_server.sessions.tasks import TaskInteraction, Tasks
from mcp_server.store.events import EventBus
from mcp_server.store.memory import InMemoryBackend

ALICE = "https://issuer.example\nalice"
QUESTION = Question(
    request=InputRequest(method="elicitation/create", params={"message": "Sure?"}), needs={}, read=lambda raw: raw
)


async def until(so: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await so():
            await asyncio.to_thread(lambda: None)


class Slow(InMemoryBackend):
    """A store whose writes of tasks wait for a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.open = asyncio.Event()
        self.open.set()

    async def keep(self, key: str, value: bytes, ttl_s: float, **how: Any) -> bool:
        await self.open.wait()
        return await super().keep(key, value, ttl_s, **how)


@pytest.mark.parametrize("size", [10, 50_000], ids=["small", "more than may be kept"])
async def test_a_task_that_is_cancelled_while_its_handler_returns_has_no_result(size: int) -> None:
    backend = Slow()
    tasks, gate = Tasks(EventBus(backend), 3600, 20_000), asyncio.Event()

    async def work(_: TaskInteraction) -> CallToolResult:
        await gate.wait()
        return CallToolResult(content=[TextContent(text="x" * size)])

    async def other(running: TaskInteraction) -> CallToolResult:
        await running.ask({"q": QUESTION})
        return CallToolResult(content=[])

    task = await tasks.start(ALICE, "work", work, None)
    record = await tasks.find(task.task_id, ALICE)
    assert record is not None
    asks = await tasks.start(ALICE, "other", other, None)
    backend.open.clear()
    await until(lambda: _is(tasks, asks.task_id))  # the other's question is being written: one write after the other
    cancelling = asyncio.create_task(tasks.cancel(record))
    await asyncio.sleep(0)
    gate.set()
    for _ in range(5):
        await asyncio.sleep(0)
    backend.open.set()
    await cancelling
    found = await tasks.find(task.task_id, ALICE)
    assert found is not None
    assert found.status == "cancelled"
    assert b'"result"' not in msgspec.json.encode(found.wire())
    await tasks.stop()


async def _is(tasks: Tasks, task_id: str) -> bool:
    return tasks._running[task_id].record.status == "input_required" or tasks._writing.locked()


async def test_a_question_that_its_handler_gives_up_is_asked_no_more() -> None:
    tasks, gate = Tasks(EventBus(InMemoryBackend()), 3600), asyncio.Event()

    async def work(running: TaskInteraction) -> CallToolResult:
        limit = asyncio.timeout(None)
        with contextlib.suppress(TimeoutError):
            async with limit:
                asyncio.get_running_loop().call_soon(limit.reschedule, 0)
                await running.ask({"q": QUESTION})
        await gate.wait()
        return CallToolResult(content=[])

    seen: list[str] = []
    task = await tasks.start(ALICE, "work", work, None)

    async def works() -> bool:
        found = await tasks.find(task.task_id, ALICE)
        assert found is not None
        seen.append(found.status)
        return "input_required" in seen and seen[-1] == "working" and not found.questions

    await until(works)
    gate.set()
    await tasks.stop()
