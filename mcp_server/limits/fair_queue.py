"""Concurrency limiter with fair queueing: places that are taken in turn by network, for one site has many addresses.

A FIFO of all belongs to whoever sends the most: one IPv6 /48 has 65,536 of the /64s that callers are counted by.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import msgspec

from mcp_server.limits import callers

MAX_AT_ONCE: Final = 16
MAX_OF_ADDRESS: Final = MAX_AT_ONCE // 2
"""The other half is for everybody else."""
MAX_OF_NETWORK: Final = MAX_AT_ONCE * 3 // 4
"""More than one address has, so that none shuts its neighbours out."""
MAX_WAITING: Final = 1024
"""Callers who wait, of all addresses: each holds a connection and its request."""
MAX_WAITING_OF_NETWORK: Final = MAX_WAITING // 4
FEW: Final = 8
"""What a network may have waiting when half of the room is taken: few large ones do not fill it for the others."""


class QueueFull(Exception):
    """The queue is full: too many wait already."""


class QueueLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of a fair queue: places of all, of an address, of a network; who may wait, of all and of a network."""

    at_once: int
    of_address: int
    of_network: int
    waiting: int
    waiting_of_network: int


class _Waiter(msgspec.Struct, frozen=True, eq=False):
    address: str
    network: str
    granted: asyncio.Future[None]


class FairQueue:
    """The places of one process, and the line in front of them."""

    def __init__(self, room: QueueLimits | None = None) -> None:
        self._room = room or QueueLimits(
            at_once=MAX_AT_ONCE,
            of_address=MAX_OF_ADDRESS,
            of_network=MAX_OF_NETWORK,
            waiting=MAX_WAITING,
            waiting_of_network=MAX_WAITING_OF_NETWORK,
        )
        self._of_address, self._of_network = Counter[str](), Counter[str]()
        self._waiting = Counter[str]()
        self._lines: dict[str, deque[_Waiter]] = {}
        """By network, in the order of whose turn is next."""

    @property
    def waiting(self) -> int:
        """How many wait, of all networks."""
        return self._waiting.total()

    @contextmanager
    def in_line(self, address: str) -> Iterator[None]:
        """Be counted among those who wait, for a place or for anything else; raises `QueueFull`."""
        network, waiting, most = callers.network(address), self.waiting, self._room.waiting
        room = self._room.waiting_of_network if waiting < most // 2 else FEW
        if waiting >= most or self._waiting[network] >= room:
            raise QueueFull
        self._waiting[network] += 1
        try:
            yield
        finally:
            _less(self._waiting, network)

    @asynccontextmanager
    async def place(self, address: str, within_s: float) -> AsyncIterator[None]:
        """Hold a place; raises `QueueFull`, or `TimeoutError` where none comes free in time."""
        waiter = _Waiter(address, callers.network(address), asyncio.get_running_loop().create_future())
        if self._may_go(waiter):  # who waits already is held up by a bound of their own, and is not overtaken
            self._go(waiter)
        else:
            with self.in_line(address):
                self._lines.setdefault(waiter.network, deque()).append(waiter)
                await self._granted(waiter, within_s)
        try:
            yield
        finally:
            self._leave(waiter)

    async def _granted(self, waiter: _Waiter, within_s: float) -> None:
        try:
            async with asyncio.timeout(within_s):
                await waiter.granted
        except BaseException:
            if waiter.granted.cancelled():
                self._remove(waiter)
            else:  # granted in the moment that the caller was cancelled: the place would be lost for good
                self._leave(waiter)
            raise

    def _may_go(self, waiter: _Waiter) -> bool:
        return (
            self._of_network.total() < self._room.at_once
            and self._of_network[waiter.network] < self._room.of_network
            and self._of_address[waiter.address] < self._room.of_address
        )

    def _go(self, waiter: _Waiter) -> None:
        self._of_address[waiter.address] += 1
        self._of_network[waiter.network] += 1

    def _leave(self, waiter: _Waiter) -> None:
        _less(self._of_address, waiter.address)
        _less(self._of_network, waiter.network)
        lines = (line for name, line in self._lines.items() if self._of_network[name] < self._room.of_network)
        waiting = (one for line in lines for one in line)
        following = next((one for one in waiting if not one.granted.done() and self._may_go(one)), None)
        if following is not None:
            self._remove(following)
            if following.network in self._lines:  # its turn is over: the others come first now
                self._lines[following.network] = self._lines.pop(following.network)
            self._go(following)
            following.granted.set_result(None)

    def _remove(self, waiter: _Waiter) -> None:
        line = self._lines[waiter.network]
        line.remove(waiter)
        if not line:
            del self._lines[waiter.network]


def _less(counter: Counter[str], name: str) -> None:
    """One less; a name at zero is forgotten, for unauthenticated callers choose the names."""
    counter[name] -= 1
    if not counter[name]:
        del counter[name]
