"""What each call adds to is handed on together, a little later: one write for many calls."""

import asyncio
from collections.abc import Callable
from typing import Final

from mcp_server import detached

GATHER_S: Final = 0.05
"""What a killed process loses of its audit and its counters at the most, in seconds; a stopped one loses nothing."""


class DelayedFlush:
    """Has `hand_on` called once, `GATHER_S` after the first `begin` since the last time; at once where no loop runs."""

    __slots__ = ("_hand_on", "_loop")

    def __init__(self, hand_on: Callable[[], None]) -> None:
        self._hand_on = hand_on
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def begun(self) -> bool:
        """Whether it is about to be called; a loop that runs no more, closed or left alone, calls nothing."""
        return self._loop is not None and self._loop.is_running()

    def begin(self) -> None:
        """Something was added; callers on the hot path look at `begun` first."""
        if not self.later(GATHER_S):
            self._hand_on()

    def later(self, seconds: float) -> bool:
        """Have it called after this many seconds; false where no loop runs."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return False
        detached.later(seconds, self.end)
        self._loop = loop
        return True

    def end(self) -> None:
        """Hand on what is there."""
        self.over()
        self._hand_on()

    def over(self) -> None:
        """Cancel what is about to be called."""
        self._loop = None
