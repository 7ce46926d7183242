"""A rate limiter (GCRA) by address, for what may be asked without a credential: registrations."""

import time
from typing import Any, Final

from litestar import Request

BURST: Final = 100
EVERY_S: Final = 10.0
"""In the time that an unused client is kept (`store.UNUSED_S`) one address registers fewer than the realm may hold."""
MAX_ADDRESSES: Final = 10_000


class Pace:
    """How fast each address may go on; the one that was quiet longest is forgotten first."""

    def __init__(self, burst: int = BURST, every_s: float = EVERY_S) -> None:
        self._ahead_s, self._every_s = burst * every_s, every_s
        self._due: dict[str, float] = {}  # when an address would be even, had it kept the pace

    def wait_s(self, address: str) -> float:
        """Take one turn; the seconds to wait where there is none, else 0."""
        now = time.monotonic()
        due = max(self._due.pop(address, now), now) + self._every_s
        if due - now > self._ahead_s:
            self._due[address] = due - self._every_s
            return due - now - self._ahead_s
        while len(self._due) >= MAX_ADDRESSES:
            del self._due[next(iter(self._due))]
        self._due[address] = due
        return 0.0


def sender(request: Request[Any, Any, Any]) -> str:
    """The address that a request came from."""
    return request.client.host if request.client else ""
