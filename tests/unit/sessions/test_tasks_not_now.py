"""A store that fails one operation of a task's beginning: who was told "not now" may call again, and it runs once."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import pytest

from mcp_server.sessions.tasks import Tasks
from mcp_server.store.backend import StateBackend, StoreUnavailable
from mcp_server.store.events import EventBus
from mcp_server.store.redis import RedisBackend
from tests.kit.backends import Clock, Workers, settle
from tests.kit.served import running_redis
from tests.kit.tasks import ALICE, Handlers, Work

HOW: Final = ("not taken", "taken", "taken late", "taken, and away from then on", "not taken, and away from then on")


class Faulty:
    """A worker's store, whose `nth` operation of a task gives no answer, and others after it where it is away."""

    def __init__(self, backend: Any, nth: int, how: str) -> None:
        self._nth, self._how, self.said = nth, how, 0
        self.away = False
        self.late: list[Callable[[], Awaitable[Any]]] = []
        for owner, names in ((backend, ("held",)), (backend.jobs, ("write", "renew", "job"))):
            for name in names:
                setattr(owner, name, self._failing(getattr(owner, name)))

    def _failing(self, operation: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def asked(*args: Any) -> Any:
            self.said += 1
            if self.away or self.said in (self._nth, self._nth + 1):
                if self.said == self._nth:
                    self.away = "away" in self._how
                    if self._how.startswith("taken") and self._how != "taken late":
                        await operation(*args)
                    if self._how == "taken late":
                        self.late.append(lambda: operation(*args))
                raise StoreUnavailable("not answered")
            return await operation(*args)

        return asked


class Place:
    """Two workers of one store."""

    def __init__(self, backends: list[StateBackend], clock: Clock | None) -> None:
        self.backends, self.clock = backends, clock

    async def run_out(self) -> None:
        """The leases of tasks run out."""
        if self.clock is not None:
            self.clock.now += 31
            return
        first: Any = self.backends[1]
        redis, stream = first._redis, first._key("tasks")
        for one in await redis.xpending_range(stream, "workers", "-", "+", 100) if await redis.exists(stream) else []:
            whose, entry = one["consumer"], one["message_id"]
            await redis.execute_command("XCLAIM", stream, "workers", whose, 0, entry, "IDLE", 60_000)

    async def turns(self) -> None:
        """Let run what waits for the store."""
        for _ in range(1 if self.clock else 10):
            await settle()
            if self.clock is None:
                await self.backends[1].get("nothing")


async def stopped(tasks: Tasks) -> None:
    """They have stopped, and what was cancelled has let go of its connection."""
    acting = [*tasks._acting, *tasks.working()]
    await tasks.stop()
    await asyncio.gather(*acting, return_exceptions=True)


@pytest.fixture(scope="module")
async def redis_url(anyio_backend: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    async with running_redis(Path(tmp_path_factory.mktemp("redis"))) as address:
        yield address


@pytest.fixture(params=["memory", "redis"])
async def place(request: pytest.FixtureRequest, redis_url: str) -> AsyncIterator[Place]:
    if request.param == "memory":
        workers = Workers(clock := Clock())
        yield Place([workers.join(), workers.join()], clock)
        return
    resource = secrets.token_hex(8)
    backends = [RedisBackend(redis_url, resource) for _ in range(2)]
    yield Place(list(backends), None)
    for one in backends:
        await one.stop()


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("nth", [1, 2, 3, 4, 5])
async def test_a_call_that_was_told_not_now_never_runs(place: Place, nth: int, how: str) -> None:
    handlers, work = Handlers(), Work()
    faulty = Faulty(place.backends[0], nth, how)
    here, there = (handlers.of(EventBus(one), 3600) for one in place.backends)
    try:
        task_id = (await here.start(handlers.begun(work))).task_id
    except StoreUnavailable:
        task_id = ""
    began = list(work.attempts)
    await place.turns()
    if how.endswith("from then on"):
        here.leases.claims = False
        ended = [*here._acting, *here.working()]
        for one in ended:  # the worker is lost with what it had not told
            one.cancel()
        await asyncio.gather(*ended, return_exceptions=True)
        await place.run_out()
        await there.leases.claim()
        await place.turns()
    for late in faulty.late:  # a store that hung runs what waits in its sockets
        await asyncio.gather(late(), return_exceptions=True)
    await place.run_out()
    await there.leases.claim()
    await place.turns()
    work.gate.set()
    await place.turns()
    if not task_id:
        assert (began, work.attempts) == ([], [])
    else:
        found = await there.find(task_id, ALICE)
        assert found is not None
        assert found.over
        assert (found.status == "completed") is bool(work.attempts)
    faulty.away = False
    for tasks in (here, there):
        await stopped(tasks)


@pytest.mark.parametrize("key", ["tasks", "kept:task:{owner}", "kept:task:"])
async def test_a_key_of_another_type_lets_no_half_of_a_task_be_written(redis_url: str, key: str) -> None:
    backend, handlers, work = RedisBackend(redis_url, secrets.token_hex(8)), Handlers(), Work()
    tasks = handlers.of(EventBus(backend), 3600)
    held = backend.held

    async def spoiled(kind: str, owner: str) -> int:
        found = await held(kind, owner)
        await backend._redis.set(backend._key(key.format(owner=owner)), b"somebody else's")
        return found

    backend.held = spoiled  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        await tasks.start(handlers.begun(work))
    kept = [key async for key in backend._redis.scan_iter(backend._key("task:*")) if not key.endswith(b":job")]
    records = [await backend._redis.get(key) for key in kept]
    assert not [one for one in records if one and b'"working"' in one]  # what stands is its end, written in its place
    assert work.attempts == []
    await stopped(tasks)
    await backend.stop()
