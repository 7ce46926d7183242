"""Leases where the store does not answer, a handler does not end, or nobody else is there."""

import asyncio

import pytest

from mcp_server.limits.threads import Blocking, Threads
from mcp_server.store.backend import StoreUnavailable, VersionConflict
from mcp_server.store.jobs.queue import Move
from tests.kit.backends import settle
from tests.kit.tasks import ANSWER, SOON, Pair, Work


@pytest.mark.parametrize("how", ["nobody else", "another one is silent", "its keys end with it", "away", "in a thread"])
async def test_a_drain_hands_nothing_back_that_nobody_could_run_and_the_stop_does(how: str) -> None:
    pair, work = await Pair().begin(), Work()
    task_id = await pair.start(work)
    if how != "nobody else":
        await pair.there.leases.claim()
    if how == "another one is silent":
        pair.clock.now += SOON.renew_s + 1
    pair.here.same_keys = how != "its keys end with it"
    pair.backends[0].away = how == "away"
    if how == "in a thread":
        blocking = pair.here._running[task_id].blocking = Blocking(Threads(1), None)
        blocking.working = 1
    await pair.here.hand_back()
    pair.backends[0].away = False
    assert not await pair.here.leases.claim()  # who drains takes nothing
    assert not work.cancelled
    await pair.here.stop()
    assert work.cancelled
    assert (await pair.shows(task_id)).worker == ("w0" if how == "in a thread" else "")
    await pair.there.leases.claim()
    await settle()
    assert work.attempts == ([1] if how == "in a thread" else [1, 2])  # not beside a thread that goes on
    await pair.takes_over()
    await settle()
    assert work.attempts == [1, 2]
    work.gate.set()
    await settle()
    assert (await pair.shows(task_id)).status == "completed"
    await pair.stop()


@pytest.mark.parametrize("ends", ["lost", "settling"])
async def test_one_that_does_not_end_leaves_the_others_their_time_to_renew(
    ends: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair, left, real = await Pair().begin(), list[float](), asyncio.timeout
    first, second = await pair.start(Work()), await pair.start(Work())
    old, good = pair.here._running[first], pair.here._running[second]
    old.leased_until = float("-inf")
    if ends == "lost":
        old.ending = "lost"
    else:
        old.settling = True

    def timeout(seconds: float) -> asyncio.Timeout:
        left.append(seconds)
        return real(seconds)

    monkeypatch.setattr(asyncio, "timeout", timeout)
    assert await pair.here.leases.renew()
    assert left[0] > SOON.lease_s / 2
    assert good.ending is None
    monkeypatch.undo()
    old.ending, old.settling = None, False
    await pair.stop()


def loses(pair: Pair, then: str, *, taken: bool) -> None:
    """The store gives no answer to two such writes of the first worker, which it has taken or will not take."""
    jobs, said = pair.backends[0].jobs, list[str]()
    write = jobs.write

    async def unanswered(move: Move) -> bool:
        if move.then != then or len(said) == 2:
            return await write(move)
        said.append(move.id)
        if taken:
            await write(move)
        raise StoreUnavailable("not answered")

    jobs.write = unanswered  # type: ignore[method-assign]


@pytest.mark.parametrize("taken", [False, True])
@pytest.mark.parametrize("meanwhile", ["", "cancelled", "claimed"])
async def test_an_answer_that_the_store_did_not_confirm_is_run_once_it_is_known(meanwhile: str, *, taken: bool) -> None:
    pair, work = await Pair().begin(), Work(asks=True)
    pair.handlers.retry = False
    task_id = await pair.start(work)
    await settle()
    loses(pair, "run", taken=taken)
    with pytest.raises(StoreUnavailable):
        await pair.here.answer(await pair.shows(task_id), ANSWER)
    assert list(pair.here.running) == [task_id]
    if meanwhile == "cancelled":
        await pair.there.cancel(await pair.shows(task_id))
    elif meanwhile == "claimed" and taken:
        await pair.takes_over()
    else:
        await pair.here._take(task_id)  # its own
    work.gate.set()
    await settle()
    shown = await pair.shows(task_id)
    lost = meanwhile == "claimed" and taken
    assert shown.status == ("cancelled" if meanwhile == "cancelled" else "failed" if lost else "completed")
    assert work.attempts == ([1, 2] if shown.status == "completed" else [1])
    assert not pair.here.running
    assert not pair.here._limiter.holders
    await pair.stop()


async def test_an_unconfirmed_run_whose_lease_another_worker_took_is_not_begun() -> None:
    pair, work = await Pair().begin(), Work(asks=True)
    task_id = await pair.start(work)
    await settle()
    loses(pair, "run", taken=True)
    with pytest.raises(StoreUnavailable):
        await pair.here.answer(await pair.shows(task_id), ANSWER)
    pair.workers.memory._leases[task_id] = "w1", pair.clock.now
    await settle()
    assert work.attempts == [1]
    assert not pair.here.running
    await pair.stop()


@pytest.mark.parametrize("how", ["taken", "not taken", "taken later", "claimed", "over"])
async def test_a_call_that_was_refused_for_the_store_runs_nowhere(how: str) -> None:
    pair, work, moves = await Pair().begin(), Work(), list[Move]()
    jobs = pair.backends[0].jobs
    write = jobs.write

    async def unanswered(move: Move) -> bool:
        moves.append(move)
        if how not in ("not taken", "taken later"):
            await write(move)
        if len(moves) == 2:
            jobs.write = write  # type: ignore[method-assign]
            if how == "claimed":
                await pair.takes_over()
            if how == "over":
                await pair.there.cancel(await pair.shows(move.id))
        raise StoreUnavailable("not answered")

    jobs.write = unanswered  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        await pair.start(work)
    await settle()
    if how == "taken later":  # a store that hung runs what waits in its sockets
        with pytest.raises(VersionConflict):
            await write(moves[0])
    shown = await pair.shows(moves[0].id)
    assert shown.status == ("cancelled" if how == "over" else "failed")
    await pair.takes_over()
    await settle()
    assert work.attempts == []
    assert not (pair.here.running or pair.there.running)
    await pair.stop()


async def test_one_that_was_ended_for_lost_before_its_beginning_was_known_is_not_now() -> None:
    pair, work = await Pair().begin(), Work()
    jobs = pair.backends[0].jobs
    write = jobs.write

    async def unanswered(move: Move) -> bool:
        jobs.write = write  # type: ignore[method-assign]
        await write(move)
        await pair.takes_over()
        raise StoreUnavailable("not answered")

    jobs.write = unanswered  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        await pair.start(work)
    await settle()
    assert work.attempts == []
    assert not pair.here._limiter.holders
    await pair.stop()
