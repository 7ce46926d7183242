"""Locks of all workers: owner-checked, renewed while they are held, released by their holder alone."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from mcp_server.store.backend import LOCKS, StateBackend, StoreUnavailable


class LockTimes(msgspec.Struct, frozen=True):
    """For how long a worker that died in a lock is waited for, and how often another tries to take it."""

    lease_s: float = 2.0
    retry_s: float = 0.01


DEFAULT: Final = LockTimes()


class Locks:
    """The locks that one worker takes: of those who wait for the same one here, only the first asks the store."""

    def __init__(self, backend: StateBackend, times: LockTimes = DEFAULT) -> None:
        self._backend, self._times = backend, times
        self._queues: dict[str, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def hold(self, name: str) -> AsyncIterator[None]:
        """Of all workers one at a time; a holder that lives keeps it however long its change takes.

        Raises `StoreUnavailable` where another worker is waited for longer than any such change could be.
        """
        queue, waiting = self._queues.get(name, (asyncio.Lock(), 0))
        self._queues[name] = queue, waiting + 1
        try:
            async with queue, self._lease(f"{LOCKS}:{name}"):
                yield
        finally:
            queue, waiting = self._queues.pop(name)
            if waiting > 1:
                self._queues[name] = queue, waiting - 1

    @asynccontextmanager
    async def _lease(self, key: str) -> AsyncIterator[None]:
        token, times = secrets.token_hex(8), self._times
        for _ in range(int(2 * times.lease_s / times.retry_s)):
            if await self._backend.claim(key, times.lease_s, token):
                break
            await asyncio.sleep(times.retry_s)
        else:
            raise StoreUnavailable(f"{key} is held elsewhere")
        renewal = asyncio.create_task(self._renew(key, token))
        try:
            yield
        finally:
            renewal.cancel()
            await self._backend.release(key, token)  # after a long stop another may hold it by now: theirs stands

    async def _renew(self, key: str, token: str) -> None:
        """Hold the lease: without this a slow store would let a second change in beside the first."""
        held = True
        while held:
            await asyncio.sleep(self._times.lease_s / 3)
            with contextlib.suppress(StoreUnavailable):
                held = await self._backend.extend(key, token, self._times.lease_s)
