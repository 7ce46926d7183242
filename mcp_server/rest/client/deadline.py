"""Timeout of one call: what `asyncio.timeout` is, at half of its price, for each call of an API has one."""

import asyncio
from types import TracebackType


class Deadline:
    """Cancels what runs inside of it after so many seconds, and raises `TimeoutError` then; it is used once.

    A cancellation of somebody else's goes on as what it is, also where both come at once.
    """

    __slots__ = ("_cancelling", "_over", "_seconds", "_task", "_timer")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._over = False

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        if task is None:
            raise RuntimeError("a deadline is that of a task")
        self._task, self._cancelling = task, task.cancelling()
        self._timer = loop.call_later(max(0.0, self._seconds), self._end)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._timer.cancel()
        if self._over and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def _end(self) -> None:
        self._over = True
        self._task.cancel()
