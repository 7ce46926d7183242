"""Sampling of what is told: so many of each kind in a fixed window, and a failure that lasts ever more seldom."""

import threading
import time
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

from mcp_server.forking import renew_in_children
from mcp_server.observe.gathering import DelayedFlush

SAMPLED: Final = 100
SAMPLED_S: Final = 10
"""So many of a kind are written in so many seconds by each worker, then one for the rest."""
MAX_KINDS: Final = 256
"""Kinds that are told apart in a window: else who can vary a kind would take memory with each."""

MAX_TOLD: Final = 16
"""Forms of one failure that are told apart while it lasts."""

Kind = TypeVar("Kind", bound=Hashable)
SummedUp = Callable[[Kind, int, float, float], None]
"""Told of a kind how many were left out, and between which times (seconds since the epoch)."""


class Lasting:
    """A failure that is tried again and again: told as it begins, as it changes, and at its 2nd, 4th, 8th ... time.

    A line for each try would be thousands in a day, all of the same.
    """

    def __init__(self) -> None:
        self.times = 0
        self._told: set[Hashable] = set()

    def tells(self, what: Hashable, *, asked: bool = False) -> bool:
        """Count one more; whether it is told, as it is where somebody has `asked` for the try."""
        self.times += 1
        new = what not in self._told and len(self._told) < MAX_TOLD
        if new:
            self._told.add(what)
        return new or asked or self.times & (self.times - 1) == 0

    def over(self) -> int:
        """It has gone well; how often it had not."""
        times, self.times, self._told = self.times, 0, set()
        return times


class Outage:
    """A failure that several meet together, with the same words: told by the first, until it goes well for it."""

    def __init__(self) -> None:
        self.told_by: object = None

    def tells(self, who: object) -> bool:
        """Whether it is for this one to tell, who has met it."""
        self.told_by = self.told_by or who
        return self.told_by is who

    def over(self, who: object) -> None:
        """For this one, or it asks no more; another that still meets it tells from now on."""
        if self.told_by is who:
            self.told_by = None


class Sampler(Generic[Kind]):
    """Takes `SAMPLED` of a kind in `SAMPLED_S` seconds; kinds beyond `MAX_KINDS` count as `other`."""

    def __init__(self, summed_up: SummedUp[Kind], other: Kind, clock: Callable[[], float] = time.monotonic) -> None:
        self._summed_up, self._other, self._clock = summed_up, other, clock
        self.begin_anew()
        renew_in_children(self)

    def begin_anew(self) -> None:
        """Nothing is counted; in a forked child, too: what was left out is the parent's to tell, by its loop."""
        self._since = self._clock()
        self._taken: dict[Kind, int] = {}
        self._left_out: dict[Kind, tuple[int, float]] = {}
        """How many, and when that began."""
        self._ending = DelayedFlush(self.end)
        # Which a finalizer that logs may take again; a thread of the parent may hold the one that was forked.
        self._lock = threading.RLock()

    def takes(self, kind: Kind) -> bool:
        """Whether one more of this kind is written."""
        if self._clock() - self._since >= SAMPLED_S:
            self.end()
        with self._lock:
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
        with self._lock:
            left_out, self._left_out, self._taken = self._left_out, {}, {}
            self._since = self._clock()
        self._ending.over()
        now = time.time()
        for kind, (more, since) in left_out.items():
            self._summed_up(kind, more, since, now)
