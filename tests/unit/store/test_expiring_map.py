"""The store in memory: its bounds, who makes room, what is never pushed out, and what a write costs."""

import contextlib

import pytest

from mcp_server.store.backend import OVERHEAD, SMALL, StoreFull
from mcp_server.store.expiring_map import ExpiringMap
from mcp_server.store.memory import OF_ONE_OWNER, InMemoryBackend
from tests.kit.backends import Clock


async def keep(store: InMemoryBackend, key: str, size: int, owner: str = "a", limit: int = 10_000) -> bool:
    return await store.keep(key, b"x" * size, 10, owner=owner, limit=limit, charge=size)


async def test_what_an_owner_keeps_is_counted_with_what_an_entry_costs() -> None:
    store = InMemoryBackend(clock=Clock())
    assert await keep(store, "event:1", 5_000)
    assert await store.held("event", "a") == 5_000 + OVERHEAD
    assert not await keep(store, "event:2", 5_000)
    assert await store.get("event:2") is None
    assert await keep(store, "event:2", 5_000, owner="b")
    assert await keep(store, "event:1", 9_000)  # in place of the older one
    assert not await keep(store, "event:1", 10_000)
    assert await store.get("event:1") == b"x" * 9_000
    await store.delete("event:1")
    assert await store.held("event", "a") == 0
    assert [await keep(store, f"event:{number}", 0) for number in range(10_000 // OVERHEAD + 1)].count(False) == 1


async def test_what_has_expired_counts_no_more() -> None:
    clock = Clock()
    store = InMemoryBackend(clock=clock)
    assert await keep(store, "task:1", 9_000)
    clock.now = 11
    assert await store.held("task", "a") == 0
    assert await keep(store, "event:1", 9_000)
    clock.now = 22
    assert await keep(store, "event:2", 9_000)


async def test_who_keeps_most_makes_room_and_the_others_lose_nothing() -> None:
    store = InMemoryBackend(max_bytes=10_000)
    await keep(store, "event:hers", 100, owner="b")
    for number in range(100):
        assert await keep(store, f"event:{number}", 1_000, limit=10**9)
    assert await store.get("event:hers") is not None
    assert await store.get("event:0") is None
    assert await store.get("event:99") is not None
    await keep(store, "event:more", 5_000, owner="b", limit=10**9)
    assert await store.get("event:hers") is not None


async def test_who_is_looked_at_last_goes_last() -> None:
    clock = Clock()
    store = InMemoryBackend(max_bytes=3_000, clock=clock)
    for number in range(3):
        await store.set(f"session:{number}", b"x" * 1_000, 10, "a")
    clock.now = 5
    await store.get("session:0", 10)
    await store.set("session:3", b"x" * 1_000, 10, "a")
    assert [await store.get(f"session:{number}") is None for number in range(4)] == [False, True, False, False]


async def test_large_tasks_leave_room_for_those_that_begin() -> None:
    store = InMemoryBackend(max_bytes=40_000)
    for number in range(6):
        assert await keep(store, f"task:{number}", 5_000, limit=10**9)
    with pytest.raises(StoreFull):
        await keep(store, "task:7", 5_000, owner="b")
    assert await keep(store, "task:8", SMALL, owner="b")
    assert await keep(store, "task:9", SMALL, owner="c")
    with pytest.raises(StoreFull):
        await keep(store, "task:10", SMALL, owner="d")


async def test_the_store_is_bounded_in_number_and_bytes_and_forgets_what_expired() -> None:
    clock = Clock()
    store = InMemoryBackend(max_entries=3, max_bytes=100, clock=clock)
    for key in "abcd":
        await store.set(key, b"x", 10)
    assert [await store.get(key) for key in "abcd"] == [None, b"x", b"x", b"x"]
    await store.set("big", b"y" * 99, 10)
    assert await store.get("b") is None
    assert await store.get("c") is None
    assert await store.get("big") == b"y" * 99
    assert await store.get("d") == b"x"
    clock.now = 11
    for number in range(1000):
        await store.set("same", str(number).encode(), 10)
    assert store._kinds[""]._entries.keys() == {"same"}


async def test_a_claim_is_never_pushed_out_and_one_owner_does_not_fill_the_room() -> None:
    clock = Clock()
    store = InMemoryBackend(max_entries=40, clock=clock)
    assert await store.claim("state:used", 660, owner="alice")
    for number in range(40 // OF_ONE_OWNER):
        assert await store.claim(f"state:{number}", 660, owner="mallory")
    with pytest.raises(StoreFull):
        await store.claim("state:more", 660, owner="mallory")
    assert not await store.claim("state:used", 660, owner="mallory")
    assert await store.claim("state:hers", 660, owner="bob")
    for number in range(40):
        with contextlib.suppress(StoreFull):
            await store.claim(f"state:of {number}", 660, owner=str(number))
    with pytest.raises(StoreFull):
        await store.claim("state:of one more", 660, owner="carol")
    assert not await store.claim("state:used", 660, owner="alice")
    assert await store.claim("lock:sessions", 2)  # sessions can be changed all the same
    clock.now = 661
    assert await store.claim("state:more", 660, owner="mallory")


def test_a_refused_write_looks_at_no_entry_that_stays() -> None:
    looked = 0

    class Counted(ExpiringMap):
        def drop(self, key: str) -> None:
            nonlocal looked
            looked += 1
            super().drop(key)

    clock = Clock()
    room = Counted(1_000, 10**9, clock, keeps=True)
    for number in range(1_000):
        room.set(str(number), b"", 600 + number / 10)
    looked = 0
    for _ in range(3):
        clock.now += 0.3
        with pytest.raises(StoreFull):
            room.set("more", b"", 600)
    assert looked == 0
    clock.now = 600.05
    room.set("more", b"", 600)
    assert looked == 2  # the one that has expired, and what was there under its own name


@pytest.mark.parametrize("owners", [2, 50])
async def test_of_many_owners_the_greatest_makes_room_each_time(owners: int) -> None:
    store = InMemoryBackend(max_entries=200)
    for number in range(1_000):
        owner = 0 if number % 2 else number // 2 % owners
        await store.set(f"{owner}:{number}", b"x" * (number % 7), 50, str(owner))
        if number % 5 == 0:
            await store.delete(f"{owner}:{number}")
    room = store._kinds[""]
    assert len(room._entries) == 200
    heaviest = max(room._holders.values(), key=lambda one: one.weight).weight
    assert room._holders[room._greatest_owner()].weight == heaviest
    assert len(room._greatest) <= 2 * owners + 66
