"""The store in memory: what one owner keeps is bounded, and who keeps most makes room first."""

import pytest

from mcp_server.store.backend import OVERHEAD, SMALL, StoreFull
from mcp_server.store.memory import InMemoryBackend


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


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
