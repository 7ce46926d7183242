"""What may end a running call from outside: its client gone, its time over, a legacy client's word."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Literal

GRACE_S: Final = 0.05
"""Most calls are over before this: they cost an entry in a dictionary, not a timer and a task of their own."""
CancelReason = Literal["disconnected", "timed_out", "cancelled"]


class CallSupervisors:
    """The calls that have begun and are not watched yet: looked at every `GRACE_S` while there are any."""

    def __init__(self) -> None:
        self._young: dict[CallSupervisor, None] = {}
        self._older: dict[CallSupervisor, None] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        """Where the next look is due; None when there is none to come."""

    def add(self, watch: "CallSupervisor") -> None:
        """A call has begun."""
        if self._loop is None or self._loop.is_closed():  # an application may outlive its loop: that one never looks
            self._begin()
        self._young[watch] = None

    def remove(self, watch: "CallSupervisor") -> None:
        """It is over."""
        if watch in self._young:
            del self._young[watch]
        else:
            self._older.pop(watch, None)

    def _begin(self) -> None:
        self._older, self._young = {}, {}
        self._loop = asyncio.get_running_loop()
        self._loop.call_later(GRACE_S, self._look)

    def _look(self) -> None:
        """What was young at the last look and is still here begins to be watched."""
        late, self._older, self._young = self._older, self._young, {}
        for watch in late:
            watch.start()
        if not self._older:
            self._loop = None
        elif self._loop is not None:
            self._loop.call_later(GRACE_S, self._look)


class CallSupervisor:
    """Cancels the task that made it; `reason` says why, None that somebody else did.

    `hung_up` returns when the client has gone, where that cancels its call (the modern era over HTTP), else None.
    """

    __slots__ = ("_absorbed", "_answering", "_hung_up", "_limit", "_task", "_timer", "_watches", "reason")

    def __init__(self, watches: CallSupervisors, hung_up: Callable[[], Awaitable[None]] | None, limit_s: float) -> None:
        self._watches, self._hung_up, self._limit = watches, hung_up, limit_s
        self._answering = asyncio.current_task()
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.reason: CancelReason | None = None
        self._absorbed: bool | None = None
        watches.add(self)

    def stop(self) -> None:
        """The call is over.

        A handler may have swallowed the cancellation: what the same task does next (a batch's other items, the answer)
        must not be taken for cancelled, too.
        """
        self.absorb_cancellation()
        self._watches.remove(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def cancelled(self) -> None:
        """The client does not want the answer any more."""
        self._end("cancelled")

    def absorb_cancellation(self) -> bool:
        """Whether a cancellation was ours: the task then goes on, to say so."""
        if self.reason is None or self._answering is None:
            return False
        if self._absorbed is None:
            self._absorbed = self._answering.uncancel() == 0  # else somebody else wants it ended, too
        return self._absorbed

    def start(self) -> None:
        """The call is taking its time: from now on it is watched."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._limit, self._end, "timed_out")
        if self._hung_up is not None:
            self._task = loop.create_task(self._watch(self._hung_up))

    async def _watch(self, hung_up: Callable[[], Awaitable[None]]) -> None:
        await hung_up()
        self._end("disconnected")

    def _end(self, reason: CancelReason) -> None:
        if self.reason is None and self._answering is not None:
            self.reason = reason
            self._answering.cancel()
