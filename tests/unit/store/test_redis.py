"""What only a real Redis shows: lost connections, its memory, its clock, scripts that run twice."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from mcp_server.store.backend import EVERYBODY, GAP, OVERHEAD, StoreFull, StoreUnavailable
from mcp_server.store.events import EventBus, EventsMissed, ResourceUpdated
from mcp_server.store.jobs import streams
from mcp_server.store.redis import MAX_CONNECTIONS, OF_A_KIND, SLOT_S, UNBOUNDED, RedisBackend, Timing
from tests.kit.backends import until
from tests.kit.certificates import self_signed
from tests.kit.jobs import move
from tests.kit.logs import logged
from tests.kit.served import running_redis
from tests.kit.stack import free_port


@pytest.fixture
async def join(redis_url: str) -> AsyncIterator[Callable[..., RedisBackend]]:
    """Makes workers of one store that is new."""
    resource, joined = secrets.token_hex(8), []

    def one_more(resource: str = resource, timing: Timing | None = None) -> RedisBackend:
        joined.append(RedisBackend(redis_url, resource, timing))
        return joined[-1]

    yield one_more
    for backend in joined:
        await backend.stop()


class Gaps:
    """How often a worker was told that something may have been missed, and what it heard."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    def __call__(self, data: bytes) -> None:
        self.heard.append(data)

    def count(self, number: int) -> Callable[[], Awaitable[bool]]:
        async def so() -> bool:
            return self.heard.count(GAP) >= number

        return so


async def test_a_store_behind_an_own_authority_is_believed(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    async with running_redis(tmp_path, tls=(certificate, key)) as url:
        strange, known = RedisBackend(url, "x"), RedisBackend(url, "x", ca_file=str(certificate))
        with pytest.raises(StoreUnavailable):
            await strange.get("k")
        await known.set("k", b"v", 10)
        assert await known.get("k") == b"v"
        for one in (strange, known):
            await one.stop()


async def test_another_password_is_used_without_a_pause_and_one_that_is_wrong_changes_nothing(tmp_path: Path) -> None:
    async with running_redis(tmp_path) as url:
        async with Redis.from_url(url) as admin:
            await admin.acl_setuser(
                "rotated", enabled=True, passwords=["+old", "+new"], commands=["+@all"], keys=["*"], channels=["*"]
            )

        def by(password: str) -> str:
            return url.replace("://", f"://rotated:{password}@")

        one, other = (RedisBackend(by("old"), "x", timing) for timing in (Timing(), Timing(retire_s=0)))
        heard = Gaps()
        await one.start(heard)
        await other.start(lambda _: None)
        with pytest.raises(StoreUnavailable):
            await one.renew(by("wr0ng"))
        calls = [asyncio.create_task(one.set(f"k{number}", b"v", 10)) for number in range(200)]
        await one.renew(by("new"))
        await asyncio.gather(*calls)
        await other.renew(by("new"))
        await other.publish([(EVERYBODY, b"said"), (one.worker, b"to you")])

        async def heard_and_retired() -> bool:
            return b"to you" in heard.heard and not other._retired

        await until(heard_and_retired)
        for backend in (one, other):
            await backend.stop()
        assert not one._retired
        await one.start(heard)
        assert await one.get("k1") == b"v"
        await one.stop()
        await one.renew(by("old"))  # nobody listens, so nothing is begun
        await one.stop()


async def test_a_renewal_that_is_cancelled_leaves_one_hearing(
    join: Callable[..., RedisBackend], redis_url: str
) -> None:
    one, other, heard = join(), join(), Gaps()
    await one.start(heard)
    await other.start(lambda _: None)
    url = f"{redis_url}?protocol=3"
    renewal = asyncio.create_task(one.renew(url))
    while one._url != url:  # noqa: ASYNC110 - step by step, for it is soon over
        await asyncio.sleep(0)
    renewal.cancel()
    with pytest.raises(asyncio.CancelledError):
        await renewal

    async def heard_by_one() -> bool:
        async with Redis.from_url(redis_url) as admin:
            return dict(await admin.pubsub_numsub(one._channel(one.worker))).popitem()[1] == 1

    await until(heard_by_one)
    assert len(one._retired) == 1
    await one.stop()


async def test_a_lost_connection_is_noticed_and_told_as_a_gap(
    join: Callable[..., RedisBackend], redis_url: str
) -> None:
    one, other, told = join(), join(), Gaps()
    await one.start(told)
    await until(told.count(1))  # what was said before it began to hear
    admin: Redis = Redis.from_url(redis_url)
    for number in (2, 3):
        await admin.client_kill_filter(_type="pubsub")
        await until(told.count(number))
        await other.publish([(EVERYBODY, b"%d" % number)])

        async def heard(data: bytes = b"%d" % number) -> bool:
            return data in told.heard

        await until(heard)
    await admin.aclose()


async def test_a_burst_is_heard_whole_and_in_its_order(join: Callable[..., RedisBackend]) -> None:
    here, there = EventBus(join()), EventBus(join())
    heard: list[ResourceUpdated] = []
    started: list[EventsMissed] = []
    there.subscribe(ResourceUpdated, heard.append)
    there.subscribe(EventsMissed, started.append)
    await there.backend.start(there.receive)
    for number in range(1_000):
        here.publish_soon(ResourceUpdated(f"a://{number}"))
    await here.publish(ResourceUpdated("a://last"))

    async def done() -> bool:
        return bool(heard) and heard[-1].uri == "a://last"

    await until(done)
    assert [one.uri for one in heard] == [*(f"a://{number}" for number in range(1_000)), "a://last"]
    assert len(started) == 1


async def test_the_pause_before_the_next_try_is_short_again_after_one_that_went_well(
    join: Callable[..., RedisBackend], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, pauses = join(timing=Timing(pause_s=1, max_pause_s=8)), []
    goes_well = iter([False, False, False, True, False, False, False, False, False])

    async def job(well: Callable[[], None]) -> None:
        if next(goes_well):
            well()
        raise OSError("away")

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        backend._stopping = len(pauses) == 9

    with monkeypatch.context() as moment:
        moment.setattr(asyncio, "sleep", sleep)
        await backend._supervise(job)
    assert pauses == [1, 2, 4, 1, 2, 4, 8, 8, 8]


async def test_a_claim_whose_answer_was_lost_is_still_ones_own(join: Callable[..., RedisBackend]) -> None:
    one = join()
    for _ in range(2):  # the client repeats a command whose connection breaks
        assert await one._claim([one._key("claim:c")], ["token", 5_000]) == 1
    assert not await one.claim("c", 5)
    await one.release("c", "token")
    assert await one.claim("c", 5)


async def test_the_stores_of_two_resources_have_nothing_in_common(join: Callable[..., RedisBackend]) -> None:
    one, foreign = join(), join(resource="http://localhost/other")
    await one.set("k", b"v", 50)
    assert await foreign.get("k") is None
    assert await foreign.claim("c", 50)
    assert await one.claim("c", 50)


async def test_what_an_owner_keeps_is_counted_by_redis_own_clock(
    join: Callable[..., RedisBackend], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = join(), join()

    async def keep(number: int) -> bool:
        return await one.keep(f"event:a:{number}", b"x" * 1_000, 50, owner="a", limit=10_000, charge=1_000)

    assert await keep(0)
    ledger = one._ledger("event", "a")
    assert await one._redis.ttl(one._key("event:a:0")) <= 50
    assert 50 <= await one._redis.ttl(ledger) <= 50 + SLOT_S
    past = int(time.time() // SLOT_S) - 1
    await one._redis.delete(ledger)
    await one._redis.hset(ledger, mapping={str(past): 10**9})  # what it kept has expired
    assert await one.held("event", "a") == 0
    assert await keep(1)
    assert str(past).encode() not in await one._redis.hgetall(ledger)
    monkeypatch.setattr(time, "time", lambda: past * SLOT_S + 10 * 3600)  # this machine's clock is hours ahead
    assert await keep(2)
    assert await other.held("event", "a") == 2 * (1_000 + OVERHEAD)


async def test_what_others_write_into_the_ledger_counts_for_nothing(join: Callable[..., RedisBackend]) -> None:
    """A call that begins a task asks it: it failed for as long as foreign bytes lay there."""
    backend = join()
    assert await backend.keep("event:a:1", b"x" * 1_000, 50, owner="a", limit=10_000, charge=1_000)
    ledger, far = backend._ledger("event", "a"), str(2**40)
    await backend._redis.hset(ledger, mapping={b"\x80\x04": b"7", b"": b"7", b"1.5": b"7", far.encode(): b"\x80"})
    assert await backend.held("event", "a") == 1_000 + OVERHEAD


async def test_what_others_put_in_a_records_place_counts_as_gone_and_is_written_over(
    join: Callable[..., RedisBackend],
) -> None:
    """It was held for a store that is away, for which its reader waits."""
    backend = join()
    await backend._redis.rpush(backend._key("session:x"), b"1")
    assert [await backend.get("session:x"), await backend.get("session:x", 50)] == [None, None]
    await backend.set("session:x", b"2", 50)
    assert await backend.get("session:x", 50) == b"2"


async def until_full(store: Callable[[int], Awaitable[object]]) -> int:
    """How many values there is room for."""
    for number in range(1_000):
        try:
            await store(number)
        except StoreFull:
            return number
    return 1_000


async def test_one_kind_does_not_fill_the_store_for_the_others(tmp_path: Path) -> None:
    async with running_redis(tmp_path, maxmemory="16mb") as url:
        backend = RedisBackend(url, "r")
        await backend.start(lambda _: None)

        async def measured() -> bool:
            return await backend.held("event", "") == 0 and backend._of_a_kind != UNBOUNDED

        await until(measured)
        assert await until_full(
            lambda one: backend.keep(f"event:{one}", b"x" * 100_000, 50, owner=str(one), limit=10**9, charge=100_000)
        ) == 16 * 1024 * 1024 // OF_A_KIND * 3 // 4 // (100_000 + OVERHEAD)
        assert await backend.keep("event:small", b"x", 50, owner="small", limit=10**9, charge=1)
        await backend.set("session:1", b"x" * 100_000, 50)
        assert await backend.keep("task:1", b"x" * 100_000, 50, owner="a", limit=10**9, charge=100_000)
        assert await until_full(lambda one: backend.set(f"session:{one}", b"x" * 100_000, 50)) > 50
        await backend.stop()


async def test_a_start_without_redis_is_allowed() -> None:
    timing = Timing(max_pause_s=0.1)
    backend = RedisBackend(f"redis://127.0.0.1:{free_port()}/0", "r", timing)
    await backend.start(lambda _: None)
    await backend.stop()


def test_a_worker_starts_again_in_another_loop(redis_url: str) -> None:
    backend = RedisBackend(redis_url, "r")

    async def serve() -> list[bytes | None]:
        await backend.start(lambda _: None)
        await backend.set("k", b"v", 50)
        found = await asyncio.gather(*(backend.get("k") for _ in range(4 * MAX_CONNECTIONS)))
        await backend.stop()
        return found

    for _ in range(2):
        assert set(asyncio.run(serve())) == {b"v"}


async def test_a_lease_is_held_on_to_in_a_store_that_is_full(tmp_path: Path) -> None:
    async with running_redis(tmp_path, maxmemory="3mb") as url:
        one, other = (RedisBackend(url, "r") for _ in range(2))
        assert await one.jobs.write(move("a", "", "run", job=b"j", ttl_s=500))
        assert await until_full(lambda number: other.set(f"session:{number}", b"x" * 50_000, 500)) < 1_000
        await other._redis.config_set("maxmemory", "1mb")  # from here on nothing can be set, however small
        with pytest.raises(StoreFull):
            await one.jobs.write(move("b", "a", "keep"))
        assert await one.jobs.renew(["t"]) == set()
        assert await other.jobs.claim(0, 1) == ["t"]
        await one.stop()
        await other.stop()


async def test_a_store_that_has_become_a_replica_is_away_and_its_connections_are_let_go(
    join: Callable[..., RedisBackend], redis_url: str
) -> None:
    """A failover: a connection that is kept would lead to the old one for as long as it lasts."""
    backend = join()
    await backend.set("session:a", b"1", 60)
    before = await backend._redis.client_id()
    async with Redis.from_url(redis_url) as operator:
        await operator.replicaof("127.0.0.1", free_port())
        try:
            for write in (backend.set("session:a", b"2", 60), backend.claim("c", 60), backend.settle([], [], 1000)):
                with pytest.raises(StoreUnavailable, match="read only"):
                    await write
        finally:
            await operator.replicaof("NO", "ONE")
    await backend.set("session:a", b"3", 60)
    assert await backend.get("session:a") == b"3"
    assert await backend._redis.client_id() != before


async def test_persistence_is_told_lost_or_unknown(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = RedisBackend(redis_url, "r")
    assert await backend.jobs.persistence() == "lost"
    await backend._redis.config_set("appendonly", "yes")
    assert await backend.jobs.persistence() == "kept"
    await backend._redis.config_set("appendonly", "no")

    async def forbidden(_: str) -> None:
        raise ResponseError("NOPERM")

    monkeypatch.setattr(backend._redis, "config_get", forbidden)
    assert await backend.jobs.persistence() == "unknown"
    away = RedisBackend(f"redis://127.0.0.1:{free_port()}/0", "r", Timing(connect_s=0.1))
    with pytest.raises(StoreUnavailable):
        await away.jobs.persistence()
    await away.stop()
    await backend.stop()


async def test_workers_that_are_gone_are_forgotten_and_those_that_hold_something_are_not(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    resource = "gone"
    one, other = RedisBackend(redis_url, resource), RedisBackend(redis_url, resource)

    async def known() -> set[bytes]:
        return {each["name"] for each in await one._redis.xinfo_consumers(one._key("tasks"), "workers")}

    await one.jobs.write(move("a", "", "run", job=b"j", ttl_s=500))
    await other.jobs.claim(0, 1)
    assert await known() == {one.worker.encode(), other.worker.encode()}
    monkeypatch.setattr(streams, "GONE_MS", -1)
    await other.jobs.claim(600, 1)
    assert await known() == {other.worker.encode()}
    await other.stop()  # as one that did not get its handlers to an end
    assert await known() == {other.worker.encode()}
    await one.jobs.drop("t")
    await one.stop()


async def test_a_store_that_is_away_is_told_by_one_of_those_who_ask_it() -> None:
    """Who hears others and who measures the store fail together, with the same words: each outage had two lines."""
    away = RedisBackend(f"redis://127.0.0.1:{free_port()}/0", "r", Timing(connect_s=0.1, start_s=0.01, pause_s=0.05))
    with logged() as lines:
        await away.start(lambda _: None)

        async def told() -> bool:
            return len(lines) >= 3

        await until(told)
        await away.stop()
    pauses = [one["again_in_s"] for one in lines if one["text"] == "the shared store is away"]
    assert pauses == sorted(set(pauses))
    assert away._outage.told_by is None  # who tells has ended: another would be silent for ever
