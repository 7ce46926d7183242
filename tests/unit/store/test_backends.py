"""What every state backend does: one suite over the memory of a process, workers of one memory, and a real Redis."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable

import pytest

from mcp_server.store.backend import EVERYBODY, OVERHEAD, StateBackend, StoreUnavailable, owner_of
from mcp_server.store.lock import Locks, LockTimes
from mcp_server.store.memory import InMemoryBackend
from mcp_server.store.redis import RedisBackend
from tests.kit.backends import Workers, until

KINDS = ["memory", "workers", "redis"]


class Store:
    """A store that is new, as one worker and as another sees it; the memory of one process has only one."""

    def __init__(self, join: Callable[[], StateBackend]) -> None:
        self.one, self.other = join(), join()


@pytest.fixture(params=KINDS)
async def store(request: pytest.FixtureRequest, redis_url: str) -> AsyncIterator[Store]:
    if request.param == "redis":
        resource = secrets.token_hex(8)
        found = Store(lambda: RedisBackend(redis_url, resource))
    elif request.param == "workers":
        found = Store(Workers().join)
    else:
        memory = InMemoryBackend()
        found = Store(lambda: memory)
    yield found
    for backend in (found.one, found.other):
        await backend.stop()


async def test_what_one_worker_keeps_the_other_finds_until_it_is_forgotten(store: Store) -> None:
    assert await store.one.get("k") is None
    for value in (b"", b"\x00\xff\r\n", b"x" * 100_000):
        await store.one.set("k", value, 50)
        assert await store.other.get("k") == value
    assert await store.other.delete("k")
    assert not await store.other.delete("k")
    assert await store.one.get("k") is None


async def test_a_set_keeps_each_value_until_its_time_and_no_more_than_so_many(store: Store) -> None:
    now = time.time()
    assert await store.other.remembered("set") == []
    for value, until_s in ((b"over", -5.0), (b"a", 50.0), (b"b", 60.0), (b"a", 50.0)):
        await store.one.remember("set", value, now + until_s, 10)
    assert sorted(await store.other.remembered("set")) == [b"a", b"b"]
    await store.one.remember("set", b"c", now + 70, 2)
    assert sorted(await store.other.remembered("set")) == [b"b", b"c"]
    assert await store.other.remembered("another") == []


async def test_what_runs_out_of_time_is_gone_and_what_is_renewed_is_not(store: Store) -> None:
    for life in (0.05, 0.5, 5):  # a machine may be so busy that a short one is over before it is looked at
        await store.one.set("renewed", b"v", life)
        await store.one.set("short", b"v", life)
        if await store.other.get("renewed", 50) == b"v":
            break

    async def gone() -> bool:
        return await store.one.get("short") is None

    await until(gone)
    assert await store.one.get("renewed") == b"v"
    assert await store.one.get("short", 50) is None


async def test_what_an_owner_keeps_is_bounded_for_each_kind(store: Store) -> None:
    limit = 3 * (1_000 + OVERHEAD)

    async def keep(number: int, owner: str = "a", kind: str = "event") -> bool:
        backend = store.one if number % 2 else store.other
        key = f"{kind}:{owner}:{number}"
        return await backend.keep(key, b"x" * 1_000, 50, owner=owner, limit=limit, charge=1_000)

    assert sum(await asyncio.gather(*(keep(number) for number in range(8)))) == 3
    there = [await store.one.get(f"event:a:{number}") is not None for number in range(8)]
    assert there.count(True) == 3
    assert [await one.held("event", "a") for one in (store.one, store.other)] == [limit, limit]
    assert await keep(0, owner="b")
    assert await keep(0, kind="task")
    assert await store.one.held("event", "b") == 1_000 + OVERHEAD


async def test_a_claim_is_good_once_whoever_asks(store: Store) -> None:
    at_once = [one.claim("c", 50) for one in (store.one, store.other) for _ in range(10)]
    assert (await asyncio.gather(*at_once)).count(True) == 1
    await store.one.set("event:c", b"", 50)
    await store.one.delete("event:c")
    await store.one.release("c", "of somebody else")
    assert not await store.other.claim("c", 50)
    assert await store.one.claim("short", 0.05)

    async def again() -> bool:
        return await store.other.claim("short", 50, owner=owner_of("p"))

    await until(again)


async def test_a_claim_is_released_and_extended_by_its_holder_alone(store: Store) -> None:
    assert await store.one.claim("c", 50, "mine")
    assert not await store.other.extend("c", "another's", 50)
    await store.other.release("c", "another's")
    assert not await store.other.claim("c", 50, "another's")
    assert await store.one.extend("c", "mine", 50)
    await store.one.release("c", "mine")
    assert not await store.one.extend("c", "mine", 50)
    assert await store.other.claim("c", 50, "another's")


async def test_a_lock_lets_one_in_at_a_time(store: Store) -> None:
    inside, most = 0, 0
    locks = [Locks(one, LockTimes(retry_s=0.001)) for one in (store.one, store.other)]

    async def change(worker: Locks) -> None:
        nonlocal inside, most
        async with worker.hold("x"):
            inside += 1
            most = max(most, inside)
            await store.one.get("k")
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(change(one) for one in locks for _ in range(20)))
    assert most == 1
    assert not any(one._queues for one in locks)


async def test_a_lock_is_kept_while_its_holder_lives_and_no_longer(store: Store) -> None:
    times = LockTimes(lease_s=1.0, retry_s=0.01)
    one, other = Locks(store.one, times), Locks(store.other, times)
    async with one.hold("x"):
        with pytest.raises(StoreUnavailable):  # twice the lease is waited for
            async with other.hold("x"):
                raise AssertionError
    assert await store.one.claim("lock:x", 0.05, "of one that died")
    async with other.hold("x"):
        assert not await store.one.claim("lock:x", 1)


async def test_who_lost_a_lock_does_not_release_the_next_ones(store: Store) -> None:
    async with Locks(store.one).hold("x"):
        await _seize(store.other, "lock:x")
    assert not await store.one.claim("lock:x", 50, "a third's")
    await store.one.release("lock:x", "another's")
    assert await store.one.claim("lock:x", 50, "a third's")


async def _seize(backend: StateBackend, key: str) -> None:
    """Have the claim, as after the time of its holder, which was stopped, is over."""
    if isinstance(backend, RedisBackend):
        await backend._redis.delete(backend._key(f"claim:{key}"))
    elif isinstance(backend, InMemoryBackend):
        backend._claimed(key).drop(key)
    assert await backend.claim(key, 50, "another's")


async def test_messages_come_in_their_order_and_to_whom_they_are_for(store: Store) -> None:
    if not store.one.distributed:
        await store.one.publish([(EVERYBODY, b"nobody hears")])
        return
    heard: list[bytes] = []
    own: list[bytes] = []
    await store.other.start(heard.append)
    await store.one.start(own.append)
    sent = [b"%d" % number for number in range(200)]
    to_one = [(store.other.worker, b"to one"), ("nobody", b"to nobody")]
    await store.one.publish([*((EVERYBODY, data) for data in sent), *to_one])

    async def all_there() -> bool:
        return bool(heard) and heard[-1] == b"to one"

    await until(all_there)
    assert [one for one in heard if one] == [*sent, b"to one"]
    assert [one for one in own if one] == []
