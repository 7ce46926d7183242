"""State backends for tests: a clock that is turned by hand, and workers of one memory whose connections can be cut."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from mcp_server.store.backend import EVERYBODY, GAP, Message, Receive, StoreUnavailable
from mcp_server.store.expiring_map import ExpiringMap
from mcp_server.store.jobs.queue import InMemoryJobs
from mcp_server.store.memory import InMemoryBackend

Found = TypeVar("Found")


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Workers:
    """One store that several workers share; a complete backend, held to the same suite as the product's."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.memory = InMemoryBackend(clock=clock)
        self.all: list[Linked] = []

    def join(self) -> "Linked":
        """One more worker."""
        worker = Linked(self, f"w{len(self.all)}")
        self.all.append(worker)
        return worker


class Linked(InMemoryBackend):
    """What one worker sees of the store. `away` is the store itself, `deaf` its hearing."""

    distributed = True

    def __init__(self, workers: Workers, name: str) -> None:
        super().__init__()
        self._workers, self.worker = workers, name
        self._kinds, self._sets = workers.memory._kinds, workers.memory._sets
        memory = workers.memory
        self.jobs = LinkedJobs(self, memory)
        self._receive: Receive | None = None
        self.away = self.deaf = False
        self.published: list[Message] = []

    def _room(self, key: str) -> ExpiringMap:
        self._check()
        return super()._room(key)

    def _claimed(self, key: str) -> ExpiringMap:
        self._check()
        return super()._claimed(key)

    def _check(self) -> None:
        if self.away:
            raise StoreUnavailable("away")

    async def remember(self, name: str, value: bytes, until: float, limit: int) -> None:
        self._check()
        await super().remember(name, value, until, limit)

    async def remembered(self, name: str) -> list[bytes]:
        self._check()
        return await super().remembered(name)

    async def publish(self, messages: Sequence[Message]) -> None:
        self._check()
        self.published.extend(messages)
        for worker, data in messages:
            for other in self._workers.all:
                if other is not self and worker in (EVERYBODY, other.worker):
                    other.hear(data)

    def hear(self, data: bytes) -> None:
        if self._receive is not None and not self.deaf:
            self._receive(data)

    def hears_again(self) -> None:
        """Its connection is back, and it knows that it was gone."""
        self.deaf = False
        self.hear(GAP)

    async def start(self, receive: Receive) -> None:
        self._receive = receive

    async def stop(self) -> None:
        self._receive = None


class LinkedJobs(InMemoryJobs):
    """What one worker sees of the queue; records are looked for by its own way to the store."""

    def __init__(self, worker: Linked, memory: InMemoryBackend) -> None:
        super().__init__(worker.worker, worker._room, memory._clock, memory._leases, memory._claimants)
        self._check = worker._check

    async def renew(self, job_ids: Sequence[str]) -> set[str]:
        self._check()
        return await super().renew(job_ids)

    async def withdraw(self, silent_s: float) -> bool:
        self._check()
        return await super().withdraw(silent_s)

    async def postpone(self, job_id: str) -> None:
        self._check()
        await super().postpone(job_id)


def run_settled(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Found]) -> Found:
    """What a step of a state machine comes to, once all that it began has run."""

    async def whole() -> Found:
        try:
            return await work
        finally:
            await settle(20)

    return loop.run_until_complete(whole())


async def settle(turns: int = 50) -> None:
    """Let all run that waits for nothing from outside."""
    for _ in range(turns):
        await asyncio.sleep(0)


async def until(so: Callable[[], Awaitable[bool]]) -> None:
    """Wait for what another process does; each look is a turn of the loop at least."""
    async with asyncio.timeout(60):
        while not await so():
            await settle(1)
