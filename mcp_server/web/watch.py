"""What may end a running call from outside: its client gone, its time over, a legacy client's word."""

import asyncio
from typing import Any, Final, Literal

GRACE_S: Final = 0.05
"""Most calls are over before this: watching costs them a timer and no task."""
Reason = Literal["gone", "late", "cancelled"]


class Watch:
    """Cancels the task that made it; `reason` says why, None that somebody else did.

    `receive` is the ASGI callable where a client that hangs up cancels its call (the modern era), else None.
    """

    __slots__ = ("_answering", "_limit", "_loop", "_receive", "_task", "_timer", "reason")

    def __init__(self, receive: Any, limit_s: float) -> None:
        self._receive, self._limit = receive, limit_s
        self._loop = asyncio.get_running_loop()
        self._answering = asyncio.current_task(self._loop)
        self._task: asyncio.Task[None] | None = None
        self._timer = self._loop.call_later(GRACE_S, self._start)
        self.reason: Reason | None = None

    def stop(self) -> None:
        """The call is over."""
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def cancelled(self) -> None:
        """The client does not want the answer any more."""
        self._end("cancelled")

    def forgiven(self) -> bool:
        """Whether a cancellation was ours: the task then goes on, to say so."""
        if self.reason is None or self._answering is None:
            return False
        self._answering.uncancel()
        return True

    def _start(self) -> None:
        self._timer = self._loop.call_later(self._limit, self._end, "late")
        if self._receive is not None:
            self._task = self._loop.create_task(self._watch())

    async def _watch(self) -> None:
        await disconnected(self._receive)
        self._end("gone")

    def _end(self, reason: Reason) -> None:
        if self.reason is None and self._answering is not None:
            self.reason = reason
            self._answering.cancel()


async def disconnected(receive: Any) -> None:
    """Returns when the client has hung up."""
    while (await receive())["type"] != "http.disconnect":
        pass
