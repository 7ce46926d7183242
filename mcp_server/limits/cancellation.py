"""Repeated cancellation: a coroutine that swallows `CancelledError` and goes on is cancelled again, and told of."""

import asyncio
from typing import Any, Final

from mcp_server.observe.log import logger

AGAIN_S: Final = 5.0
"""A handler may need this long to clean up; each further cancellation comes after twice the time of the last."""
MOST: Final = 6
"""Cancellations, the last one 2.5 minutes after the first: who ignores so many ignores all, and is told of no more."""


class Cancellation:
    """Cancels a task until it has ended, or `MOST` times; the log names whose handler goes on."""

    __slots__ = ("_before", "_loop", "_name", "_reason", "_task", "_timer", "times")

    def __init__(self, task: "asyncio.Task[Any]", name: str, reason: str) -> None:
        self._loop, self._task, self._name, self._reason = task.get_loop(), task, name, reason
        self._before, self.times = task.cancelling(), 0
        self._cancel()

    def undo(self) -> bool:
        """Take back what was asked for; whether nobody else wants the task to end, too.

        What was there before does not count: some library's request that was never taken back.
        """
        left = [self._task.uncancel() for _ in range(self.times)]
        return left[-1] <= self._before

    def over(self) -> None:
        """It has done what it was told."""
        self._timer.cancel()

    def _cancel(self) -> None:
        self.times += 1
        self._task.cancel()
        self._timer = self._loop.call_later(AGAIN_S * 2 ** (self.times - 1), self._again)

    def _again(self) -> None:
        if self._task.done():
            return
        logger.warning(
            "a handler goes on though it was cancelled", name=self._name, reason=self._reason, times=self.times
        )
        if self.times < MOST:
            self._cancel()
