"""A worker that stops: what has ended is still written, what has not is told, whatever one of them or the store does."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest

from mcp_server.authoring.interaction import ResumableInteraction
from mcp_server.identity import marks_of
from mcp_server.protocol.types.tools import CallToolResult
from mcp_server.sessions.tasks import TaskInteraction
from mcp_server.sessions.tasks.registry import STOPPED
from mcp_server.sessions.tasks.run import MayHaveActed
from mcp_server.store.backend import StoreFull, StoreUnavailable
from mcp_server.store.jobs.queue import Move
from mcp_server.store.revocations import EVER, Revocation
from tests.kit.backends import settle
from tests.kit.principals import principal
from tests.kit.tasks import ALICE, Pair, Work


def writing(pair: Pair, write: Callable[[Move, Callable[[Move], Awaitable[bool]]], Awaitable[bool]]) -> None:
    """Have the first worker's store write so."""
    jobs = pair.backends[0].jobs
    real = jobs.write

    async def writes(move: Move) -> bool:
        return await write(move, real)

    jobs.write = writes  # type: ignore[method-assign]


@pytest.mark.parametrize("retry", [False, True])
async def test_what_has_ended_is_written_before_its_worker_goes(*, retry: bool) -> None:
    """Cut off, its result was lost, and who took it over said so, or ran it again."""
    pair, work, answered = await Pair().begin(), Work(), asyncio.Event()
    task_id = await pair.start(work, retry=retry)

    async def takes_a_moment(move: Move, write: Callable[[Move], Awaitable[bool]]) -> bool:
        await answered.wait()
        return await write(move)

    writing(pair, takes_a_moment)
    work.gate.set()
    await settle()
    stopping = asyncio.create_task(pair.here.stop())
    await settle()
    answered.set()
    await stopping
    assert (await pair.shows(task_id)).status == "completed"
    assert not pair.here.running
    assert pair.workers.memory._leases == {}
    await pair.there.stop()


class Deaf:
    """A handler that ends when it likes."""

    def __init__(self) -> None:
        self.freed = asyncio.Event()

    async def __call__(self, running: TaskInteraction) -> CallToolResult:
        while not self.freed.is_set():
            try:
                await self.freed.wait()
            except asyncio.CancelledError:
                continue
        return CallToolResult(content=[])


async def test_one_that_does_not_end_keeps_no_other_from_being_told() -> None:
    # Half a second is for the others too: a loop that stood still for all of it would hand back none.
    pair, deaf, others = await Pair(stop_s=0.5).begin(), Deaf(), [Work(), Work()]
    await pair.start(deaf)
    again, once = await pair.start(others[0]), await pair.start(others[1], retry=False)
    await pair.here.stop()
    deaf.freed.set()
    assert (await pair.shows(again)).worker == ""
    assert (await pair.shows(once)).error == {"code": -32603, "message": STOPPED}
    await settle()
    await pair.there.stop()


async def test_a_store_that_is_full_stops_no_stop() -> None:
    pair = await Pair().begin()
    again, once = await pair.start(Work()), await pair.start(Work(), retry=False)

    async def is_full(move: Move, write: Callable[[Move], Awaitable[bool]]) -> bool:
        if move.then == "free":
            raise StoreFull("used memory > maxmemory")
        return await write(move)

    writing(pair, is_full)
    await pair.here.stop()
    assert (await pair.shows(again)).worker == "w0"  # its lease runs out
    assert (await pair.shows(once)).error == {"code": -32603, "message": STOPPED}
    assert not pair.here.running
    await pair.there.stop()


async def test_a_call_whose_task_was_not_taken_keeps_no_slot_though_its_handler_swallows_its_end() -> None:
    pair = await Pair(stop_s=0.05).begin()

    async def swallows(_: TaskInteraction) -> CallToolResult:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return CallToolResult(content=[])

    async def is_away(_: Move, __: Callable[[Move], Awaitable[bool]]) -> bool:
        raise StoreUnavailable("away")

    writing(pair, is_away)
    with pytest.raises(MayHaveActed):
        await pair.here.start(pair.handlers.begun(swallows, first=ResumableInteraction({}, {})))
    await settle()
    assert not pair.here.running
    assert pair.here._limiter.has_room(ALICE, pair.here._max_running)
    await pair.stop()


@pytest.mark.parametrize("what", ["revoked", "not taken"])
async def test_what_nobody_waits_for_is_written_before_its_worker_goes(what: str) -> None:
    """That a task ended with its token, or that one of which nobody knows has not begun: no run of it is left to wait for."""
    pair, answered = await Pair().begin(), asyncio.Event()
    known, lost = marks_of(principal()), 2 if what == "not taken" else 0  # answers, for each is asked twice

    async def takes_a_moment(move: Move, write: Callable[[Move], Awaitable[bool]]) -> bool:
        nonlocal lost
        if lost:
            lost -= await write(move)
            raise StoreUnavailable("away")
        await answered.wait()
        return await write(move)

    if what == "revoked":
        await pair.start(Work(), marks=known)
    writing(pair, takes_a_moment)
    if what == "revoked":
        over = Revocation(issuer=known.issuer, kind="sub", name=known.subject, before=EVER, until=EVER)
        assert pair.here.revoked(over) == 1
    else:
        with pytest.raises(StoreUnavailable):
            await pair.start(Work())
    await settle()
    stopping = asyncio.create_task(pair.here.stop())
    await settle()
    answered.set()
    await stopping
    assert pair.workers.memory._leases == {}
    await pair.there.stop()
