"""Sessions of the legacy eras, and the store they live in."""

from mcp_server.engine.broker import Broker, SessionEnded
from mcp_server.engine.memory import MemoryShared
from mcp_server.engine.sessions import IDLE_S, MAX_PER_PRINCIPAL, Sessions


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_sessions_expire_when_idle_and_live_on_when_used() -> None:
    clock = Clock()
    store = Sessions(Broker(MemoryShared(clock=clock)))
    session = await store.open("p", "2025-11-25", {"roots": {}})
    clock.now = IDLE_S - 1
    assert await store.find(session.id, "p") == session
    clock.now = 2 * IDLE_S - 2
    assert await store.find(session.id, "p")
    clock.now = 3 * IDLE_S
    assert await store.find(session.id, "p") is None
    assert not await store.close(session.id, "p")


async def test_one_principal_has_so_many_and_its_oldest_goes_first() -> None:
    broker = Broker(MemoryShared())
    ended: list[str] = []
    broker.on(SessionEnded, lambda event: ended.append(event.session))
    store = Sessions(broker)
    other = await store.open("other", "2025-11-25", {})
    opened = [await store.open("p", "2025-11-25", {}) for _ in range(MAX_PER_PRINCIPAL + 1)]
    assert await store.find(opened[0].id, "p") is None
    assert await store.find(opened[1].id, "p")
    assert await store.find(other.id, "other")
    assert ended == [opened[0].id]


async def test_a_session_is_its_principals_alone() -> None:
    store = Sessions(Broker(MemoryShared()))
    session = await store.open("p", "2025-11-25", {})
    assert await store.find(session.id, "q") is None
    assert not await store.close(session.id, "q")
    assert await store.close(session.id, "p")
    assert await store.find(session.id, "p") is None


async def test_the_store_is_bounded_in_number_and_bytes_and_forgets_what_expired() -> None:
    clock = Clock()
    store = MemoryShared(max_entries=3, max_bytes=100, clock=clock)
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


async def test_a_claim_is_good_once_until_its_time_is_over() -> None:
    clock = Clock()
    store = MemoryShared(clock=clock)
    assert await store.claim("k", 5)
    assert not await store.claim("k", 5)
    clock.now = 6
    assert await store.claim("k", 5)
    await store.set("event:k", b"x", 5)
    await store.delete("event:k")
    assert not await store.claim("k", 5)
