"""Bodies that are awaited: whose is thrown out when there are too many."""

import asyncio

import pytest

from mcp_server.limits import callers
from mcp_server.web.incoming.arrivals import Evicted, EvictingLimiter
from tests.kit.backends import settle


class Crowd:
    """Senders whose bodies do not end by themselves."""

    def __init__(self, most: int) -> None:
        self.arrivals = EvictingLimiter(most)
        self.sending: dict[str, asyncio.Task[str]] = {}

    async def come(self, *addresses: str) -> None:
        """One after the other."""
        for address in addresses:
            began = asyncio.Event()
            self.sending[address] = asyncio.create_task(self._send(address, began))
            await began.wait()
        await settle()

    async def _send(self, address: str, began: asyncio.Event) -> str:
        try:
            async with self.arrivals.awaited(callers.key(None, address), 60):
                began.set()
                await asyncio.Event().wait()
        except Evicted:
            return "evicted"
        raise AssertionError

    def still(self) -> list[str]:
        return [address for address, task in self.sending.items() if not task.done()]

    async def end(self) -> None:
        for task in self.sending.values():
            task.cancel()
        await asyncio.gather(*self.sending.values(), return_exceptions=True)


async def test_the_oldest_of_the_network_with_the_most_goes() -> None:
    crowd = Crowd(4)
    await crowd.come("198.51.100.1", "192.0.2.1", "192.0.2.2", "192.0.2.3")
    await crowd.come("203.0.113.1")
    assert crowd.still() == ["198.51.100.1", "192.0.2.2", "192.0.2.3", "203.0.113.1"]
    await crowd.come("203.0.113.2", "203.0.113.3")
    assert crowd.still() == ["198.51.100.1", "192.0.2.3", "203.0.113.2", "203.0.113.3"]
    await crowd.end()


async def test_places_come_back() -> None:
    crowd = Crowd(1)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            async with crowd.arrivals.awaited("\n192.0.2.1", 0):
                await asyncio.Event().wait()
    await crowd.come("192.0.2.1")
    await crowd.end()
    await crowd.come("192.0.2.2")
    assert crowd.still() == ["192.0.2.2"]
    await crowd.end()


async def test_one_whose_time_is_over_in_that_moment_is_gone_all_the_same() -> None:
    arrivals, late = EvictingLimiter(1), asyncio.Event()

    async def sends() -> None:
        async with arrivals.awaited("\n192.0.2.1", 0):
            try:
                await asyncio.Event().wait()
            finally:
                await late.wait()

    slow = asyncio.create_task(sends())
    await settle()
    async with arrivals.awaited("\n192.0.2.2", 60):
        late.set()
        with pytest.raises(Evicted):
            await slow
