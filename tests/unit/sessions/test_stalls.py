"""A store that stalls, a record that cannot be read, a handler that does not end: others are told and go on."""

import asyncio
from typing import Any

import pytest

from mcp_server.protocol.types.content import TextContent
from mcp_server.protocol.types.notifications import SubscriptionFilter
from mcp_server.protocol.types.tools import CallToolResult
from mcp_server.sessions.session import look_again
from mcp_server.sessions.subscriptions import Notice, Subscription, SubscriptionLimits, Subscriptions
from mcp_server.sessions.tasks import Tasks
from mcp_server.sessions.tasks.run import TaskInteraction
from mcp_server.store.backend import StoreUnavailable
from mcp_server.store.events import EventBus
from mcp_server.store.memory import InMemoryBackend
from tests.kit.backends import settle
from tests.kit.tasks import begun


class Stalling(InMemoryBackend):
    """A store that is away a few times, without any connection being lost."""

    away = 0

    async def get(self, key: str, renew_s: float | None = None) -> bytes | None:
        if self.away:
            self.away -= 1
            raise StoreUnavailable(key)
        return await super().get(key, renew_s)


@pytest.mark.parametrize("times", [1, 3])
async def test_the_end_of_a_task_is_told_though_the_store_stalls(times: int) -> None:
    backend = Stalling()
    bus = EventBus(backend)
    tasks, streams, go = Tasks(bus, 3600), Subscriptions(bus, SubscriptionLimits(), again_s=0), asyncio.Event()

    async def work(_: TaskInteraction) -> CallToolResult:
        await go.wait()
        return CallToolResult([TextContent("done")])

    created = await tasks.start(begun(work, "p"))
    listener = Subscription("p", SubscriptionFilter(task_ids=[created.task_id]), subscription=5)
    assert streams.add(listener)
    go.set()
    await settle()
    backend.away = times
    said: list[bytes] = []
    async with asyncio.timeout(60):
        while not said:
            said = await listener.next()
    assert b'"completed"' in said[0]
    assert not backend.away
    streams.remove(listener)
    await tasks.stop()


async def test_one_session_that_cannot_be_read_costs_no_other_its_reading() -> None:
    read: list[str] = []

    async def read_one(session: str) -> None:
        read.append(session)
        if session == "of another version":
            raise ValueError(session)
        if session == "late" and read.count(session) == 1:
            raise StoreUnavailable(session)

    await look_again(["a", "of another version", "b", "late"], read_one, 0)
    assert read == ["late", "late", "b", "of another version", "a"]


class Hanging(InMemoryBackend):
    """A store that takes no task any more."""

    hangs = False

    async def keep(self, key: str, value: bytes, ttl_s: float, **how: Any) -> bool:
        if self.hangs:
            await asyncio.Event().wait()
        return await super().keep(key, value, ttl_s, **how)


@pytest.mark.parametrize("what", ["the store", "a handler"])
async def test_an_end_waits_for_nothing_for_ever(what: str) -> None:
    backend, stubborn = Hanging(), asyncio.Event()
    tasks = Tasks(EventBus(backend), 3600, stop_s=0.05)

    async def work(_: TaskInteraction) -> CallToolResult:
        while not stubborn.is_set():
            try:
                await stubborn.wait()
            except asyncio.CancelledError:
                if what == "the store":
                    raise
        return CallToolResult([])

    for _ in range(3):
        await tasks.start(begun(work, "p"))
    backend.hangs = what == "the store"
    async with asyncio.timeout(60):
        await tasks.stop()
    backend.hangs = False
    stubborn.set()
    await settle()


async def test_a_store_that_stalls_is_looked_at_once_for_all_that_wait() -> None:
    """Each with a timer of its own would wake the next look before it is due, ever more often."""
    backend = Stalling()
    backend.away = 10**9
    bus = EventBus(backend)
    tasks, streams = Tasks(bus, 3600), Subscriptions(bus, SubscriptionLimits(), again_s=3600)
    listener = Subscription("p", SubscriptionFilter(task_ids=[f"t{n}" for n in range(50)]), subscription=5)
    assert streams.add(listener)
    listener.read_task = tasks.find
    for n in range(50):
        listener.offer(f"task:t{n}", Notice("notifications/tasks", {}, task_id=f"t{n}"))
    loop, timers = asyncio.get_running_loop(), []
    later = loop.call_later
    loop.call_later = lambda *told, **more: timers.append(told) or later(*told, **more)  # type: ignore[method-assign, func-returns-value]
    try:
        assert await listener.next() == []
    finally:
        del loop.call_later
    assert len(timers) == 1
    assert len(listener.waiting) == 50
    streams.remove(listener)
    await tasks.stop()
