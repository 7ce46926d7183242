"""Sessions of the legacy eras, and the store they live in."""

import asyncio
import json
from collections.abc import Coroutine
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from msgspec import Raw

from mcp_server.engine.methods import resources
from mcp_server.identity import marks_of
from mcp_server.sessions.session import IDLE_S, MAX_PER_PRINCIPAL, MAX_SUBSCRIPTIONS, MAX_URI_BYTES, Sessions
from mcp_server.store.backend import StoreUnavailable
from mcp_server.store.events import EventBus, SessionEnded
from mcp_server.store.memory import InMemoryBackend
from mcp_server.store.revocations import EVER, Revocation, RevocationList
from tests.kit.backends import Clock, Workers
from tests.kit.principals import principal

Found = TypeVar("Found")


async def test_sessions_expire_when_idle_and_live_on_when_used() -> None:
    clock = Clock()
    store = Sessions(EventBus(InMemoryBackend(clock=clock)))
    session = await store.open("p", "2025-11-25", {"roots": {}})
    clock.now = IDLE_S - 1
    assert await store.find(session.id, "p") == session
    clock.now = 2 * IDLE_S - 2
    assert await store.find(session.id, "p")
    clock.now = 3 * IDLE_S
    assert await store.find(session.id, "p") is None
    assert not await store.close(session.id, "p")


async def test_one_principal_has_so_many_and_its_oldest_goes_first() -> None:
    bus = EventBus(InMemoryBackend())
    ended: list[str] = []
    bus.subscribe(SessionEnded, lambda event: ended.append(event.session))
    store = Sessions(bus)
    other = await store.open("other", "2025-11-25", {})
    opened = [await store.open("p", "2025-11-25", {}) for _ in range(MAX_PER_PRINCIPAL + 1)]
    assert await store.find(opened[0].id, "p") is None
    assert await store.find(opened[1].id, "p")
    assert await store.find(other.id, "other")
    assert ended == [opened[0].id]


async def test_a_session_is_its_principals_alone() -> None:
    store = Sessions(EventBus(InMemoryBackend()))
    session = await store.open("p", "2025-11-25", {})
    assert await store.find(session.id, "q") is None
    assert not await store.close(session.id, "q")
    assert await store.close(session.id, "p")
    assert await store.find(session.id, "p") is None


async def test_a_session_that_has_ended_or_run_out_of_time_ends_no_other() -> None:
    clock = Clock()
    store = Sessions(EventBus(InMemoryBackend(clock=clock)))
    first = await store.open("p", "2025-11-25", {})
    for _ in range(2 * MAX_PER_PRINCIPAL):
        assert await store.close((await store.open("p", "2025-11-25", {})).id, "p")
    assert await store.find(first.id, "p")
    for _ in range(MAX_PER_PRINCIPAL - 1):
        await store.open("p", "2025-11-25", {})
    clock.now = IDLE_S - 1
    assert await store.find(first.id, "p")
    clock.now = IDLE_S + 1  # all others are over
    for _ in range(MAX_PER_PRINCIPAL - 1):
        await store.open("p", "2025-11-25", {})
    assert await store.find(first.id, "p")
    await store.open("p", "2025-11-25", {})
    assert await store.find(first.id, "p") is None


async def test_a_session_that_ends_while_it_is_changed_stays_ended() -> None:
    store = Sessions(EventBus(InMemoryBackend()))
    session = await store.open("p", "2025-11-25", {})
    assert await store.close(session.id, "p")
    assert await store.change(session, lambda one: msgspec.structs.replace(one, log_level="debug")) == session
    assert await store.find(session.id, "p") is None


class Bounds(RuleBasedStateMachine):
    """Sessions opened, filled, used, left alone and ended: those that live are the newest, and nothing else is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.clock, self.loop = Clock(), asyncio.new_event_loop()
        self.memory = InMemoryBackend(clock=self.clock)
        self.store = Sessions(EventBus(self.memory))
        self.live: dict[str, tuple[str, float]] = {}

    def run(self, work: Coroutine[Any, Any, Found]) -> Found:
        return self.loop.run_until_complete(work)

    def of(self, who: str) -> list[str]:
        now = self.clock.now
        self.live = {one: (whose, until) for one, (whose, until) in self.live.items() if until > now}
        return [one for one, (whose, _) in self.live.items() if whose == who]

    @rule(who=st.sampled_from("pq"), times=st.integers(1, MAX_PER_PRINCIPAL + 1))
    def open(self, who: str, times: int) -> None:
        for _ in range(times):
            mine = self.of(who)
            if len(mine) == MAX_PER_PRINCIPAL:
                del self.live[mine[0]]
            session = self.run(self.store.open(who, "2025-11-25", {}))
            self.live[session.id] = who, self.clock.now + IDLE_S

    @rule(data=st.data(), who=st.sampled_from("pq"))
    def close(self, data: st.DataObject, who: str) -> None:
        for one in self.of(who)[: data.draw(st.integers(0, MAX_PER_PRINCIPAL))]:
            assert self.run(self.store.close(one, who))
            del self.live[one]

    @rule(data=st.data(), who=st.sampled_from("pq"), size=st.integers(1, 4_096))
    def subscribe(self, data: st.DataObject, who: str, size: int) -> None:
        if not (mine := self.of(who)):
            return
        one = data.draw(st.sampled_from(mine))
        session = self.run(self.store.find(one, who))
        assert session
        for number in range(8):
            self.run(
                resources.subscribe(
                    self.store, session, Raw(json.dumps(f"x://{number}".ljust(size, "a")).encode()), wanted=True
                )
            )
        self.live[one] = who, self.clock.now + IDLE_S
        changed = self.run(self.store.find(one, who))
        assert changed
        assert len(changed.subscriptions) <= MAX_SUBSCRIPTIONS
        assert sum(map(len, changed.subscriptions)) <= MAX_URI_BYTES

    @rule(seconds=st.integers(1, int(IDLE_S)))
    def wait(self, seconds: int) -> None:
        self.clock.now += seconds

    @invariant()
    def what_is_kept_is_what_lives(self) -> None:
        for who in "pq":
            mine = self.of(who)
            assert len(mine) <= MAX_PER_PRINCIPAL
            room = self.memory._kinds[""]
            assert all(room._entries[f"session:{one}"][1] > self.clock.now for one in mine)
        assert self.store._read_bytes == sum(len(stored) for stored, _ in self.store._read.values())

    def teardown(self) -> None:
        for one, (who, _) in list(self.live.items()):
            if one in self.of(who):
                assert self.run(self.store.close(one, who))
        assert not any(one in self.store._read for one in self.live)
        self.loop.close()


TestBounds = Bounds.TestCase
TestBounds.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)


async def test_sessions_stand_decoded_within_a_bound_and_only_beside_a_store_in_memory() -> None:
    store = Sessions(EventBus(InMemoryBackend()), max_read_bytes=1_000)
    session = await store.open("p", "2025-11-25", {})
    for _ in range(50):
        session = await store.open("p", "2025-11-25", {"roots": {}})
        assert await store.find(session.id, "p") is await store.find(session.id, "p")
        assert store._read_bytes <= 1_000
    assert await store.close(session.id, "p")
    assert session.id not in store._read
    away = Sessions(EventBus(Workers().join()))
    session = await away.open("p", "2025-11-25", {})
    assert await away.find(session.id, "p") == session
    assert not away._read


async def test_a_session_is_over_with_the_token_that_opened_it_where_that_is_revoked() -> None:
    bus, known = EventBus(InMemoryBackend()), RevocationList()
    ended: list[str] = []
    bus.subscribe(SessionEnded, lambda event: ended.append(event.session))
    store = Sessions(bus, over=known.over)
    first, second = (msgspec.structs.replace(principal(), sid=sid) for sid in ("one", "two"))
    mine, other = [await store.open("p", "2025-11-25", {}, marks_of(who)) for who in (first, second)]
    unmarked = await store.open("p", "2025-11-25", {})
    assert known.add(Revocation(issuer=first.issuer, kind="sid", name="one", before=10, until=EVER))
    assert await store.find(mine.id, "another") is None
    assert ended == []
    assert await store.find(mine.id, "p") is None
    assert (ended, await store.find(other.id, "p"), await store.find(unmarked.id, "p")) == ([mine.id], other, unmarked)


@pytest.mark.parametrize("nth", [1, 2])
async def test_who_is_told_not_now_has_no_session_that_no_list_names(nth: int) -> None:
    backend, written = InMemoryBackend(), list[str]()
    keep = backend.set

    async def fails(key: str, value: bytes, ttl_s: float, owner: str = "") -> None:
        written.append(key)
        if len(written) == nth:
            raise StoreUnavailable(key)
        await keep(key, value, ttl_s, owner)

    backend.set = fails  # type: ignore[method-assign]
    store = Sessions(EventBus(backend))
    with pytest.raises(StoreUnavailable):
        await store.open("p", "2025-11-25", {})
    assert not [key for room in backend._kinds.values() for key in room._entries if key.startswith("session:")]
    assert await store.find((await store.open("p", "2025-11-25", {})).id, "p")
