"""How long sessions lasted: ended by whom they belong to, by a newer one, by a revocation, by nobody, with the process."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from mcp_server.identity import marks_of
from mcp_server.observe.telemetry.operations import Operations
from mcp_server.sessions import durations
from mcp_server.sessions.durations import Opened
from mcp_server.sessions.session import IDLE_S, MAX_PER_PRINCIPAL, Sessions
from mcp_server.store.events import EventBus
from mcp_server.store.memory import InMemoryBackend
from tests.kit.backends import Clock, Workers, until
from tests.kit.principals import principal

REVISION = "2025-11-25"
Ended = dict[tuple[str, str, str], tuple[int, float]]


def measured(sessions: Sessions, clock: Callable[[], float] | None = None) -> Callable[[], Ended]:
    """Have them measured; what was counted so far: how many, and their seconds."""
    operations = Operations()
    sessions.durations.operations = lambda: operations
    if clock is not None:
        sessions.durations._clock = clock
    return lambda: {which: (sum(one.counts), round(one.total)) for which, one in operations.sessions.items()}


@asynccontextmanager
async def started(
    backend: InMemoryBackend, clock: Callable[[], float]
) -> AsyncIterator[tuple[Sessions, Callable[[], Ended]]]:
    bus = EventBus(backend)
    await backend.start(bus.receive)
    sessions = Sessions(bus)
    yield sessions, measured(sessions, clock)
    await sessions.stop()
    await backend.stop()


async def test_who_ends_a_session_counts_it_and_no_other_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    workers, clock = Workers(), Clock()
    monkeypatch.setattr("mcp_server.sessions.session.time.time", clock)
    clock.now = 1000.0
    async with (
        started(workers.join(), clock) as (first, opened_here),
        started(workers.join(), clock) as (other, ended_here),
    ):
        session = await first.open("p", REVISION, {})
        clock.now += 90
        assert await other.close(session.id, "p")

        async def known() -> bool:
            return first.durations._open == {}

        await until(known)
        clock.now += IDLE_S
        await first.durations.look()
    assert (opened_here(), ended_here()) == ({}, {(REVISION, "tcp", ""): (1, 90)})


async def test_what_is_forgotten_is_told_by_who_opened_it_and_what_is_used_is_not() -> None:
    clock = Clock()
    sessions = Sessions(EventBus(InMemoryBackend(clock=clock)))
    told = measured(sessions, lambda: clock.now)
    first, used = [await sessions.open("p", REVISION, {}) for _ in range(2)]
    for one in (first, used):
        sessions.durations._open[one.id] = Opened(REVISION, 0.001)
    clock.now = IDLE_S - 1
    assert await sessions.find(used.id, "p")
    await sessions.durations.look()
    assert told() == {}
    clock.now = IDLE_S + 1
    await sessions.durations.look()
    assert told() == {(REVISION, "tcp", ""): (1, IDLE_S + 1)}
    await sessions.stop()  # the store is in this process: what is left ends with it
    assert told() == {(REVISION, "tcp", ""): (2, 2 * IDLE_S + 2)}


async def test_a_newer_session_and_a_revocation_end_others(monkeypatch: pytest.MonkeyPatch) -> None:
    over, clock = False, Clock()
    clock.now = 1000.0
    monkeypatch.setattr("mcp_server.sessions.session.time.time", clock)
    sessions = Sessions(EventBus(InMemoryBackend()), over=lambda _: over)
    told = measured(sessions, clock)
    opened = [await sessions.open("p", REVISION, {}, marks_of(principal())) for _ in range(MAX_PER_PRINCIPAL + 1)]
    assert told() == {(REVISION, "tcp", ""): (1, 0)}
    over = True
    assert await sessions.find(opened[-1].id, "p") is None
    assert told() == {(REVISION, "tcp", ""): (1, 0), (REVISION, "tcp", "revoked"): (1, 0)}
    await sessions.stop()


async def test_a_pipe_has_one_session_at_a_time_which_ends_with_it() -> None:
    clock = Clock()
    sessions = Sessions(EventBus(InMemoryBackend(clock=clock)))
    told = measured(sessions, clock)
    for at in (1.0, 3.0):
        clock.now = at
        sessions.durations.opened("stdio", Opened(REVISION, at, piped=True))
    assert told() == {(REVISION, "pipe", ""): (1, 2)}
    clock.now = 3 + 2 * IDLE_S
    await sessions.durations.look()  # silence ends none
    await sessions.stop()
    assert told() == {(REVISION, "pipe", ""): (2, 2 + 2 * IDLE_S)}


async def test_a_store_that_is_away_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durations, "LOOK_S", 0.001)
    workers, clock = Workers(Clock()), Clock()
    backend = workers.join()
    async with started(backend, clock) as (sessions, told):
        session = await sessions.open("p", REVISION, {})
        sessions.durations._open[session.id] = Opened(REVISION, 1.0)
        asked, there = list[str](), sessions.durations._there

        async def asks(one: str) -> bool:
            asked.append(one)
            return await there(one)

        async def twice() -> bool:
            return len(asked) >= 2

        sessions.durations._there = asks
        backend.away, clock.now = True, IDLE_S + 1
        await until(twice)
        assert told() == {}
        backend.away = False
        await backend.delete(f"session:{session.id}")

        async def seen() -> bool:
            return told() == {(REVISION, "tcp", ""): (1, IDLE_S)}

        await until(seen)


async def test_nothing_is_watched_where_nothing_is_measured_nor_more_than_a_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sessions = Sessions(EventBus(InMemoryBackend()))
    session = await sessions.open("p", REVISION, {})
    assert (sessions.durations._open, sessions.durations._watching) == ({}, None)
    assert await sessions.close(session.id, "p")
    clock = Clock()
    clock.now = 1000.0
    monkeypatch.setattr("mcp_server.sessions.session.time.time", clock)
    told = measured(sessions, clock)
    monkeypatch.setattr(durations, "MAX_WATCHED", 1)
    first, second = [await sessions.open("p", REVISION, {}) for _ in range(2)]
    assert list(sessions.durations._open) == [first.id]
    assert await sessions.close(second.id, "p")
    assert told() == {(REVISION, "tcp", ""): (1, 0)}
    await sessions.stop()
