"""A rate limiter (GCRA): the calls that each caller may begin in a second, on average."""

import time
from collections.abc import Callable
from typing import Final

BURST_S: Final = 5
"""As many calls as this many seconds bring may come at once, after a rest."""
MAX_PACED: Final = 10_000
"""Callers remembered; those who have rested are forgotten first, which changes nothing for them."""


class RateLimiter:
    """A rate limiter by the generic cell rate algorithm: one number for each caller."""

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._step, self._clock = 1 / per_second, clock
        self._paid_until: dict[str, float] = {}

    def wait(self, who: str, calls: int = 1) -> float:
        """The seconds that the caller must wait; zero lets the call, or a number of them, begin, and counts them."""
        now = self._clock()
        paid = self._paid_until.pop(who, now)  # taken out, so that it stands last again
        if paid < now:  # noqa: PLR1730 - a call of `max` costs as much as all the rest
            paid = now
        wait = paid - now - BURST_S
        if wait > 0:
            self._paid_until[who] = paid
            return wait
        self._paid_until[who] = paid + self._step * calls
        if len(self._paid_until) > MAX_PACED:
            self._forget(now)
        return 0.0

    def behind(self, who: str) -> float:
        """The seconds that `wait` would say now; nothing is counted."""
        return max(self._paid_until.get(who, 0) - self._clock() - BURST_S, 0)

    def _forget(self, now: float) -> None:
        busy = {who: paid for who, paid in self._paid_until.items() if paid > now}  # who called last stands last
        while len(busy) > MAX_PACED // 2:
            del busy[next(iter(busy))]
        self._paid_until = busy
