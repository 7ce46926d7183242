"""The bounds on what strangers make us ask the issuer about opaque tokens: rate and concurrency limiters with a queue.

Nobody can tell a right token from a random one before the issuer has. So each address has an allowance of tokens the
issuer does not know, right ones cost it nothing, and what exceeds it waits its turn: right tokens from the address that
floods come late and not never. The queue ends at `MAX_WAIT_S`; places are taken in turn by network
(`limits/fair_queue.py`).
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import msgspec

from mcp_server.auth.refusals import AccessDenied, AccessDeniedError, DenialReason
from mcp_server.limits.fair_queue import FairQueue, QueueFull

UNKNOWN_PER_S: Final = 20.0
"""Tokens of one address that the issuer turns out not to know, in a second on average."""
BURST_S: Final = 1.0
MAX_WAIT_S: Final = 10.0
MAX_ADDRESSES: Final = 4096


class _Address(msgspec.Struct):
    """What one address has used; `paid_until` is the one number of the generic cell rate algorithm."""

    paid_until: float = float("-inf")


class IntrospectionLimiter:
    """The limits of one process; `clock` is monotonic, in seconds: one set back would shut known addresses out."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._places = FairQueue()
        self._addresses: dict[str, _Address] = {}

    @asynccontextmanager
    async def turn(self, address: str) -> AsyncIterator[None]:
        """Wait for a turn and hold a place; raises `AccessDeniedError` where the wait would be too long.

        Leaving without an exception gives the allowance back: the issuer knew the token.
        """
        mine = self._of(address)
        turn = self._reserve(mine)
        async with AsyncExitStack() as held:
            try:
                if turn:
                    with self._places.in_line(address):
                        await asyncio.sleep(turn)
                await held.enter_async_context(self._places.place(address, MAX_WAIT_S))
            except (TimeoutError, QueueFull) as error:
                mine.paid_until -= 1 / UNKNOWN_PER_S  # nobody was asked
                raise _too_many(1) from error
            yield
        mine.paid_until -= 1 / UNKNOWN_PER_S

    def _reserve(self, mine: _Address) -> float:
        """The seconds until the turn that is taken herewith: turns are given out in the order of their callers."""
        now = self._clock()
        paid = max(mine.paid_until, now)
        turn = max(paid - now - BURST_S, 0.0)
        if turn > MAX_WAIT_S:
            raise _too_many(turn - MAX_WAIT_S + 1)
        mine.paid_until = paid + 1 / UNKNOWN_PER_S
        return turn

    def _of(self, address: str) -> _Address:
        found = self._addresses.pop(address, None) or _Address()
        if len(self._addresses) >= MAX_ADDRESSES:
            del self._addresses[next(iter(self._addresses))]
        self._addresses[address] = found  # who came last stands last, and is forgotten last
        return found


def _too_many(after_s: float) -> AccessDeniedError:
    refusal = AccessDenied(
        reason=DenialReason.TOO_MANY_UNKNOWN, detail="opaque tokens", retry_after_s=int(after_s) or 1
    )
    return AccessDeniedError(refusal)
