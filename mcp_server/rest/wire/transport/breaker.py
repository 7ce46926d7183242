"""Circuit breaker of one origin: closed, open, half open; pure, `now` is given.

It is shared by all callers, so it counts only what none of them can bring about: connections that cannot be made. An
answer, a reset or a silence may be for one call's arguments, and would let one caller close the API to all others.

Our own, for the libraries are threaded, at rest, or pin another Redis (docs/decisions/0016).
"""

from typing import Final

THRESHOLD: Final = 10
"""Failures one after the other: a connection that was made in between starts the count anew."""
OPEN_S: Final = 5.0
MAX_OPEN_S: Final = 60.0


class Breaker:
    """Counts what fails. Open, it lets nothing through; half open, one call that tries, and no more in `open_s`."""

    def __init__(self, threshold: int = THRESHOLD, open_s: float = OPEN_S, max_open_s: float = MAX_OPEN_S) -> None:
        self._threshold, self._first_s, self._max_s = threshold, open_s, max_open_s
        self._failures = 0
        self._open_s = open_s
        self._until: float | None = None
        self._trying = False

    def allows(self, now: float) -> bool:
        """Whether a call may go out; one that may must end in `succeeded`, `failed` or `given_up`."""
        if self._until is None:
            return True
        if now < self._until:
            return False
        self._trying, self._until = True, now + self._first_s  # one that takes its time does not hold all others
        return True

    def succeeded(self) -> None:
        """The API was reached."""
        self._failures, self._open_s, self._until, self._trying = 0, self._first_s, None, False

    def failed(self, now: float) -> None:
        """It was not; the call that tried opens it again, for twice as long."""
        self._failures += 1
        if self._trying:
            self._open_s = min(2 * self._open_s, self._max_s)
        if self._trying or (self._until is None and self._failures >= self._threshold):
            self._until = now + self._open_s
        self._trying = False

    def given_up(self) -> None:
        """The caller went away, so nothing is known; the next one may try."""
        if self._trying:
            self._trying, self._until = False, 0.0

    def open_for(self, now: float) -> float:
        """Seconds until it lets one through, 0 where it does."""
        return 0.0 if self._until is None else max(0.0, self._until - now)
