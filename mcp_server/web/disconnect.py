"""What may end a running call from outside: its client gone, its time over, a legacy client's word."""

import asyncio
from typing import Any, Final, Literal

GRACE_S: Final = 0.05
"""Most calls are over before this: they cost an entry in a dictionary, not a timer and a task of their own."""
CancelReason = Literal["gone", "late", "cancelled"]


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

    `receive` is the ASGI callable where a client that hangs up cancels its call (the modern era), else None.
    """

    __slots__ = ("_answering", "_forgiven", "_limit", "_receive", "_task", "_timer", "_watches", "reason")

    def __init__(self, watches: CallSupervisors, receive: Any, limit_s: float) -> None:
        self._watches, self._receive, self._limit = watches, receive, limit_s
        self._answering = asyncio.current_task()
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.reason: CancelReason | None = None
        self._forgiven: bool | None = None
        watches.add(self)

    def stop(self) -> None:
        """The call is over.

        A handler may have swallowed the cancellation: what the same task does next (a batch's other items, the answer)
        must not be taken for cancelled, too.
        """
        self.forgiven()
        self._watches.remove(self)
        if self._timer is not None:
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
        if self._forgiven is None:
            self._forgiven = self._answering.uncancel() == 0  # else somebody else wants it ended, too
        return self._forgiven

    def start(self) -> None:
        """The call is taking its time: from now on it is watched."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._limit, self._end, "late")
        if self._receive is not None:
            self._task = loop.create_task(self._watch())

    async def _watch(self) -> None:
        await disconnected(self._receive)
        self._end("gone")

    def _end(self, reason: CancelReason) -> None:
        if self.reason is None and self._answering is not None:
            self.reason = reason
            self._answering.cancel()


async def disconnected(receive: Any) -> None:
    """Returns when the client has hung up."""
    while (await receive())["type"] != "http.disconnect":
        pass
