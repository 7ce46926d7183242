"""The leases of one worker: those of its runs are renewed, those that others gave up or lost are claimed."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Final

import msgspec

from mcp_server.observe.log import logger
from mcp_server.observe.supervised import supervise
from mcp_server.sessions.tasks.run import TaskInteraction
from mcp_server.store.backend import StateBackend, StoreUnavailable

AT_ONCE: Final = 100
"""Tasks of lost workers that one claim takes; all that a worker runs are `MAX_HERE` at most."""
MAX_HERE: Final = 1000


class LeaseTimes(msgspec.Struct, frozen=True, kw_only=True):
    """How long a lease is good for, and how soon what failed is tried again; it is renewed in each third of it."""

    lease_s: float = 30.0
    retry_s: float = 0.1

    @property
    def renew_s(self) -> float:
        """How often a lease is renewed."""
        return self.lease_s / 3

    @property
    def claim_s(self) -> float:
        """How often it is looked whether there is something to claim."""
        return self.lease_s / 6


class Leases:
    """`running` are the runs of this worker by the task's id; `take` begins one that was claimed."""

    def __init__(
        self,
        backend: StateBackend,
        times: LeaseTimes,
        running: MutableMapping[str, TaskInteraction],
        take: Callable[[str], Awaitable[None]],
    ) -> None:
        self._backend, self.times, self._running, self._take = backend, times, running, take
        self._jobs: list[asyncio.Task[None]] = []
        self._woken = asyncio.Event()
        self.claims = True
        """Whether this worker takes what others gave up."""

    def begin(self) -> None:
        """Renew and claim, in the running loop."""
        self._woken = asyncio.Event()
        self._jobs = [
            asyncio.create_task(supervise("renewing the leases of tasks", self._renewing)),
            asyncio.create_task(supervise("claiming tasks", self._claiming)),
        ]

    async def end(self) -> None:
        """Renew and claim no more."""
        jobs, self._jobs = self._jobs, []
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)

    def wake(self) -> None:
        """There is something to claim."""
        self._woken.set()

    def held(self, running: TaskInteraction, since: float) -> None:
        """A run has its lease since then, by the monotonic clock."""
        if self._backend.distributed:
            running.leased_until = since + self.times.lease_s

    async def hold(self, running: TaskInteraction) -> bool:
        """Renew the lease of one run; whether this worker has it."""
        since, task_id = time.monotonic(), running.record.id
        if await self._backend.jobs.renew([task_id]):
            return False
        self.held(running, since)
        return True

    async def _renewing(self) -> None:
        while True:
            renewed = await self.renew()
            await asyncio.sleep(self.times.renew_s if renewed else self.times.retry_s)

    async def renew(self) -> bool:
        """Renew all leases; those that were lost, or that the store let run out, end their runs. Whether it answered.

        A run ends before its lease does: another worker, which sees the store, may begin it then. Of one that has been
        told to end the lease is renewed, and not waited for: a handler that does not end must not end all others.
        """
        since = time.monotonic()
        runs = {task_id: one for task_id, one in self._running.items() if one.begun.is_set()}
        if not runs:
            return True
        ours = [one.leased_until for one in runs.values() if one.ending is None and not one.settling]
        left_s = min(ours, default=float("inf")) - since
        try:
            async with asyncio.timeout(min(max(left_s, self.times.retry_s), self.times.lease_s)):
                lost = await self._backend.jobs.renew(list(runs))
        except (StoreUnavailable, TimeoutError):
            now = time.monotonic()
            for one in [one for one in runs.values() if one.leased_until <= now]:
                _lose(one, "the store was away for longer than the lease")
            return False
        for task_id, one in runs.items():
            if task_id in lost:
                _lose(one, "another worker has it, or it was cancelled")
            else:
                self.held(one, since)
        return True

    async def others(self) -> bool:
        """Claim no more; whether another worker does."""
        self.claims = False
        try:
            return await self._backend.jobs.withdraw(self.times.renew_s)
        except StoreUnavailable:
            return False

    async def _claiming(self) -> None:
        while True:
            self._woken.clear()
            pause_s = self.times.claim_s * random.uniform(0.5, 1.0)  # nosec B311 # noqa: S311 - workers need not look at once
            try:
                if await self.claim():
                    continue
            except StoreUnavailable:  # those that live shall renew what they hold before anybody claims it
                pause_s = self.times.renew_s
            try:
                async with asyncio.timeout(pause_s):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def claim(self) -> bool:
        """Claim what is free or was lost; whether there may be more."""
        most = min(AT_ONCE, MAX_HERE - len(self._running))
        if not self.claims or most <= 0:
            return False
        claimed = await self._backend.jobs.claim(self.times.lease_s, most)
        for task_id in claimed:
            try:
                await self._take(task_id)
            except StoreUnavailable:
                raise
            except Exception:  # noqa: BLE001 - one that cannot be read keeps no other from going on
                logger.exception("a task cannot be taken over")
        return len(claimed) == most

    async def tell_persistence(self) -> None:
        """Warn of a store that forgets tasks when it restarts."""
        try:
            persistence = await self._backend.jobs.persistence()
        except StoreUnavailable:
            persistence = "unknown"
        match persistence:
            case "lost":
                logger.warning("tasks do not survive a restart of the store: it has no append-only file (appendonly)")
            case "unknown":
                logger.info("whether tasks survive a restart of the store is unknown: it does not tell (CONFIG GET)")


def _lose(running: TaskInteraction, why: str) -> None:
    if running.settling or running.ending is not None:
        return
    logger.warning("a task's lease is lost, its handler is ended", tool=running.record.tool, reason=why)
    running.stop("lost")
