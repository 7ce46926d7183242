"""Sampling in fixed windows: so many of each kind are written, the rest is counted and told as one."""

import time
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

from mcp_server.observe.gathering import DelayedFlush

SAMPLED: Final = 100
SAMPLED_S: Final = 10
"""So many of a kind are written in so many seconds by each worker, then one for the rest."""
MAX_KINDS: Final = 256
"""Kinds that are told apart in a window: else who can vary a kind would take memory with each."""

Kind = TypeVar("Kind", bound=Hashable)
SummedUp = Callable[[Kind, int, float, float], None]
"""Told of a kind how many were left out, and between which times (seconds since the epoch)."""


class Sampler(Generic[Kind]):
    """Takes `SAMPLED` of a kind in `SAMPLED_S` seconds; kinds beyond `MAX_KINDS` count as `other`."""

    def __init__(self, summed_up: SummedUp[Kind], other: Kind, clock: Callable[[], float] = time.monotonic) -> None:
        self._summed_up, self._other, self._clock = summed_up, other, clock
        self._since = clock()
        self._taken: dict[Kind, int] = {}
        self._left_out: dict[Kind, tuple[int, float]] = {}
        """How many, and when that began."""
        self._ending = DelayedFlush(self.end)

    def takes(self, kind: Kind) -> bool:
        """Whether one more of this kind is written."""
        if self._clock() - self._since >= SAMPLED_S:
            self.end()
        taken = self._taken
        if kind not in taken and len(taken) >= MAX_KINDS:
            kind = self._other
        so_far = taken.get(kind, 0)
        if so_far < SAMPLED:
            taken[kind] = so_far + 1
            return True
        more, since = self._left_out.get(kind, (0, time.time()))
        self._left_out[kind] = more + 1, since
        if not self._ending.begun:
            self._ending.later(SAMPLED_S)
        return False

    def end(self) -> None:
        """A new window begins: what was left out of the last one is summed up."""
        left_out, self._left_out, self._taken = self._left_out, {}, {}
        self._since = self._clock()
        self._ending.over()
        now = time.time()
        for kind, (more, since) in left_out.items():
            self._summed_up(kind, more, since, now)
