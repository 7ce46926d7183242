"""The job queue: one suite over workers of one memory and a real Redis."""

import secrets
from collections.abc import AsyncIterator

import pytest

from mcp_server.store.backend import StateBackend, StoreFull, VersionConflict
from mcp_server.store.memory import InMemoryBackend
from mcp_server.store.redis import RedisBackend
from tests.kit.backends import Workers
from tests.kit.jobs import move

Both = tuple[StateBackend, StateBackend]


@pytest.fixture(params=["workers", "redis"])
async def both(request: pytest.FixtureRequest, redis_url: str) -> AsyncIterator[Both]:
    if request.param == "redis":
        resource = secrets.token_hex(8)
        found: Both = RedisBackend(redis_url, resource), RedisBackend(redis_url, resource)
    else:
        workers = Workers()
        found = workers.join(), workers.join()
    yield found
    for backend in found:
        await backend.stop()


async def begin(backend: StateBackend, job_id: str = "t") -> None:
    assert await backend.jobs.write(move("a", "", "run", job_id=job_id, job=b"job", ttl_s=100, charge=100))


async def test_a_job_is_leased_to_who_writes_it_and_claimed_by_one_when_that_runs_out(both: Both) -> None:
    one, other = both
    await begin(one)
    job = await other.jobs.job("t")
    assert job is not None
    assert job.data == b"job"
    assert 90 < job.left_s <= 100
    assert await other.jobs.claim(60, 10) == []
    assert (await one.jobs.renew(["t", "unknown"]), await other.jobs.renew(["t"])) == ({"unknown"}, {"t"})
    assert await other.jobs.claim(0, 10) == ["t"]
    assert await one.jobs.claim(60, 10) == []
    assert await one.jobs.renew(["t"]) == {"t"}
    assert await other.jobs.renew(["t"]) == set()
    assert await one.jobs.renew(["t"]) == {"t"}  # asking takes nothing back


async def test_a_write_names_what_it_replaces_and_is_done_once(both: Both) -> None:
    one, other = both
    await begin(one)
    await begin(one)  # its answer was lost
    held = await one.held("task", "o")
    for replaces in ("", "b"):
        with pytest.raises(VersionConflict):
            await other.jobs.write(move("c", replaces, "end"))
    assert await other.jobs.write(move("d", "a", "keep"))
    with pytest.raises(VersionConflict):
        await one.jobs.write(move("e", "a", "end"))
    assert (await one.get("task:t") or b"").startswith(b"d")
    assert await one.held("task", "o") == held
    with pytest.raises(VersionConflict):
        await one.jobs.write(move("f", "x", "end", job_id="gone"))
    assert await one.get("task:gone") is None  # a late worker brings nothing back


async def test_what_is_free_is_claimed_at_once_and_what_is_put_off_later(both: Both) -> None:
    one, other = both
    await begin(one)
    await other.jobs.postpone("t")  # not its own to put off
    assert await one.jobs.renew(["t"]) == set()
    assert await one.jobs.write(move("b", "a", "free"))
    assert await one.jobs.renew(["t"]) == {"t"}
    assert await other.jobs.claim(600, 10) == ["t"]
    await other.jobs.postpone("t")
    assert await one.jobs.claim(600, 10) == []
    assert await one.jobs.claim(0, 10) == ["t"]


async def test_who_withdraws_learns_whether_somebody_else_looks_for_what_is_free(both: Both) -> None:
    one, other = both
    assert not await one.jobs.withdraw(600)
    await one.jobs.claim(600, 10)
    assert not await one.jobs.withdraw(600)  # itself does not count
    await other.jobs.claim(600, 10)
    assert await one.jobs.withdraw(600)
    assert not await other.jobs.withdraw(600)  # the first one has withdrawn
    await other.jobs.claim(600, 10)
    assert not await one.jobs.withdraw(-1)  # for too long not heard of


async def test_what_waits_is_in_no_queue_and_what_is_over_leaves_nothing(both: Both) -> None:
    one, other = both
    await begin(one)
    assert await one.jobs.write(move("b", "a", "park"))
    assert await other.jobs.claim(0, 10) == []
    assert await one.jobs.renew(["t"]) == {"t"}
    assert await other.jobs.write(move("c", "b", "run", job=b"another"))
    job = await one.jobs.job("t")
    assert job is not None
    assert job.data == b"another"
    assert await other.jobs.renew(["t"]) == set()
    assert await other.jobs.write(move("d", "c", "end"))
    assert await one.jobs.job("t") is None
    assert await one.jobs.claim(0, 10) == []
    assert (await one.get("task:t") or b"").startswith(b"d")
    await begin(one, "u")
    await other.jobs.drop("u")
    await other.jobs.drop("unknown")
    assert await one.jobs.claim(0, 10) == []


async def test_a_job_that_waited_is_free_where_nobody_has_room(both: Both) -> None:
    one, other = both
    await begin(one)
    assert await one.jobs.write(move("b", "a", "park"))
    assert await one.jobs.write(move("c", "b", "free"))
    assert await other.jobs.claim(600, 10) == ["t"]


async def test_so_many_are_claimed_and_what_is_gone_is_cleared_away(both: Both) -> None:
    one, other = both
    for number in range(5):
        await begin(one, f"t{number}")
    for key in ("task:t0", "task:t0:job"):
        await one.delete(key)
    first = await other.jobs.claim(0, 3)
    assert len(first) in (2, 3)  # Redis counts the one that is gone
    rest = await other.jobs.claim(0, 10)
    assert {*first, *rest} == {"t1", "t2", "t3", "t4"}


async def test_what_grows_beyond_its_owners_bound_is_not_written(both: Both) -> None:
    one, _ = both
    large = move("a", "", "run", job=b"x" * 10_000, ttl_s=100, charge=10_000)
    assert not await one.jobs.write(large)
    assert await one.jobs.job("t") is None


async def test_a_full_memory_keeps_nothing_half() -> None:
    backend = InMemoryBackend(max_bytes=1_000)
    await backend.set("task:other", b"x" * 600, 50)
    with pytest.raises(StoreFull):
        await backend.jobs.write(move("a", "", "run", job=b"x" * 390, ttl_s=50))
    assert await backend.jobs.job("t") is None
    assert await backend.jobs.persistence() == "kept"
    await backend.jobs.leave()
