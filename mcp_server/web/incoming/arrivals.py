"""Concurrency limiter that evicts: bodies that are still coming, each within a time, and so many of all at once.

It refuses no newcomer: where strangers keep all places with bodies that trickle, the oldest of whose network has the
most is thrown out, and a sender whose body is there at once has long gone.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mcp_server.limits import callers


class Evicted(Exception):
    """Others have come, and this body had not arrived."""


class EvictingLimiter:
    """Concurrency limiter of one process for bodies that are awaited; the oldest makes room."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._coming: dict[str, dict[asyncio.Timeout, None]] = {}
        """By network, the oldest first."""
        self._count = 0

    @asynccontextmanager
    async def awaited(self, who: str, within_s: float) -> AsyncIterator[None]:
        """Read a body in it; raises `TimeoutError`, or `Evicted`."""
        network = callers.network(who)
        while self._count >= self._most:
            self._evict()
        deadline = asyncio.timeout(within_s)
        try:
            async with deadline:
                self._coming.setdefault(network, {})[deadline] = None
                self._count += 1
                yield
        except TimeoutError:
            if self._is_gone(network, deadline):
                raise Evicted from None
            raise
        finally:
            self._remove(network, deadline)

    def _evict(self) -> None:
        network = max(self._coming, key=lambda name: len(self._coming[name]))
        oldest = next(iter(self._coming[network]))
        self._remove(network, oldest)
        if not oldest.expired():
            oldest.reschedule(0)  # as if its time were over: the reader of the body is told in its own task

    def _is_gone(self, network: str, deadline: asyncio.Timeout) -> bool:
        return deadline not in self._coming.get(network, {})

    def _remove(self, network: str, deadline: asyncio.Timeout) -> None:
        if self._is_gone(network, deadline):
            return
        del self._coming[network][deadline]
        self._count -= 1
        if not self._coming[network]:
            del self._coming[network]
