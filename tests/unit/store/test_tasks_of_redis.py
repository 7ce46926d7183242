"""The lives of tasks over a real Redis: the machine of `sessions/test_tasks_machine.py`."""

import secrets
from typing import ClassVar

from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from mcp_server.store.backend import StateBackend
from mcp_server.store.events import EventBus
from mcp_server.store.redis import RedisBackend
from tests.unit.sessions.test_tasks_machine import Lives


class OverRedis(Lives):
    """Over a real Redis, where leases are made old by hand: its clock is its own."""

    url: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        resource = secrets.token_hex(8)
        self.backends: list[RedisBackend] = [RedisBackend(self.url, resource) for _ in range(2)]
        self.tasks = [self.handlers.of(EventBus(one), 3600) for one in self.backends]

    async def run_out(self) -> None:
        redis, stream = self.backends[0]._redis, self.backends[0]._key("tasks")
        for one in await redis.xpending_range(stream, "workers", "-", "+", 100) if await redis.exists(stream) else []:
            whose, entry = one["consumer"], one["message_id"]
            await redis.execute_command("XCLAIM", stream, "workers", whose, 0, entry, "IDLE", 60_000)  # type: ignore[no-untyped-call]

    def teardown(self) -> None:
        async def close(backend: StateBackend) -> None:
            await backend.stop()

        closing, self.loop.close = self.loop.close, lambda: None  # type: ignore[method-assign]
        super().teardown()
        for backend in self.backends:
            self.loop.run_until_complete(close(backend))
        closing()


def test_a_real_redis_is_the_same_machine(redis_url: str) -> None:
    OverRedis.url = redis_url
    run_state_machine_as_test(OverRedis, settings=settings(max_examples=5, stateful_step_count=12, deadline=None))
