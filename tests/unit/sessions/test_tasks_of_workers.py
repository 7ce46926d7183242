"""Tasks that several workers know of: one of them runs it, others may hold it for dead."""

from typing import Any

import pytest
from msgspec import Raw

from mcp_server.sessions.tasks import Tasks
from mcp_server.store.backend import StoreUnavailable
from mcp_server.store.events import EventBus
from tests.kit.backends import Linked, Workers, settle
from tests.unit.sessions.test_tasks import Work, found, start


class Pair:
    """Two workers of one store."""

    def __init__(self) -> None:
        self.workers = Workers()
        self.backends: list[Linked] = [self.workers.join(), self.workers.join()]
        self.buses = [EventBus(one) for one in self.backends]
        self.here, self.there = (Tasks(bus, 3600) for bus in self.buses)

    async def begin(self) -> "Pair":
        for bus in self.buses:
            await bus.backend.start(bus.receive)
        return self


@pytest.mark.parametrize("then", ["returns", "asks", "is cancelled", "is answered"])
async def test_a_task_that_was_given_up_for_a_dead_workers_stays_failed(then: str) -> None:
    pair = await Pair().begin()
    work = Work(asks=then != "returns")
    if then == "asks":
        work.asks = False
    task_id = await start(pair.here, work)
    await settle()
    record = await found(pair.there, task_id)
    pair.backends[0].lapsed = True
    assert (await found(pair.there, task_id)).status == "failed"
    pair.backends[0].lapsed = False  # it lives after all
    if then in ("returns", "asks"):
        work.gate.set()
    elif then == "is cancelled":
        await pair.here.cancel(record)
    else:
        await pair.here.answer(record, {"q": Raw(b"{}")})
    await settle()
    for tasks in (pair.here, pair.there):
        ended = await found(tasks, task_id)
        assert (ended.status, ended.error) == ("failed", {"code": -32603, "message": "The server was restarted"})
    assert not pair.here.running
    if then.startswith("is"):
        assert work.cancelled


async def test_a_task_that_ends_while_it_is_given_up_has_ended_well() -> None:
    pair = await Pair().begin()
    work = Work()
    task_id = await start(pair.here, work)
    pair.backends[0].lapsed = True
    alive = pair.backends[1].alive

    async def looks_and_sleeps(worker: str) -> bool:
        lives = await alive(worker)
        work.gate.set()
        await settle()
        return lives

    pair.backends[1].alive = looks_and_sleeps  # type: ignore[method-assign]
    assert (await found(pair.there, task_id)).status == "completed"


async def test_a_write_whose_answer_was_lost_is_not_somebody_elses() -> None:
    pair = await Pair().begin()
    work, backend = Work(asks=True), pair.backends[0]
    task_id = await start(pair.here, work)
    await settle()
    keep = backend.set
    lost = 0

    async def loses(*args: Any, **how: Any) -> None:
        nonlocal lost
        await keep(*args, **how)
        lost += 1
        if lost == 1:
            raise StoreUnavailable("written, and not answered")

    backend.set = loses  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        await pair.here.answer(await found(pair.here, task_id), {"q": Raw(b"{}")})
    work.gate.set()
    await settle()
    assert (await found(pair.there, task_id)).status == "completed"


async def test_another_worker_answers_and_cancels() -> None:
    pair = await Pair().begin()
    work = Work(asks=True)
    task_id = await start(pair.here, work)
    await settle()
    record = await found(pair.there, task_id)
    assert record.questions.keys() == {"q"}
    await pair.there.answer(record, {"other": Raw(b"{}")})
    await pair.there.answer(record, {"q": Raw(b"{}")})
    assert (await found(pair.there, task_id)).status == "working"
    await pair.there.cancel(record)
    assert (await found(pair.there, task_id)).status == "cancelled"
    await pair.there.cancel(await found(pair.there, task_id))
    await settle()
    assert work.cancelled
