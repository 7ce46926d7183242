"""What may end a running call from outside: its client gone, its time or its token over, a client's word, an end."""

import asyncio
import contextvars
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal, Protocol

from mcp_server import detached
from mcp_server.limits.cancellation import Cancellation
from mcp_server.observe.log import logger

GRACE_S: Final = 0.05
"""Most calls are over before this: they cost an entry in a dictionary, not a timer and a task of their own."""
ANSWER_S: Final = 0.1
"""A handler that has not ended so long after it was cancelled is answered for: who waits must not wait for it."""
CancelReason = Literal["disconnected", "timed_out", "cancelled", "stopping", "revoked"]


class CallSupervisors:
    """The calls that have begun, those that are not watched yet looked at every `GRACE_S` while there are any."""

    def __init__(self) -> None:
        self._young: dict[CallSupervisor, None] = {}
        self._older: dict[CallSupervisor, None] = {}
        self._watched: dict[CallSupervisor, None] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        """Where the next look is due; None when there is none to come."""
        self._served: asyncio.AbstractEventLoop | None = None
        """Where the watched ones run."""
        self.over = False
        """Whether all time is over, in this loop."""
        self.late: Callable[[object], tuple[float, Callable[[], None]] | None] = lambda _: None
        """Told what a call is about once it takes its time; what is to be done if it runs so many seconds more."""
        self.outlived: Callable[[object, CancelReason, float], None] = lambda *_: None
        """Told once of a call that goes on though it was ended, with the reason and when it began."""
        self.staying: set[asyncio.Future[None]] = set()
        """Held until they are done: a task that nothing refers to may be collected."""

    def add(self, watch: "CallSupervisor", loop: asyncio.AbstractEventLoop) -> None:
        """A call has begun in this loop."""
        if self._loop is not loop:  # an application may outlive its loop: that one never looks
            self._begin(loop)
        self._young[watch] = None

    def remove(self, watch: "CallSupervisor") -> None:
        """It is over."""
        if watch in self._young:
            del self._young[watch]
        elif watch in self._older:
            del self._older[watch]
        else:
            self._watched.pop(watch, None)

    def __len__(self) -> int:
        """How many calls are running."""
        return len(self._young) + len(self._older) + len(self._watched)

    def end_all(self) -> None:
        """The server stops now: each call is ended, to be told so, and none begins any more."""
        self.over = True
        for watch in self._running():
            watch.end("stopping")

    def end_those(self, whose: Callable[[object], bool], reason: CancelReason) -> int:
        """End the calls about which this is true; how many there were."""
        ended = [watch for watch in self._running() if watch.about is not None and whose(watch.about)]
        for watch in ended:
            watch.end(reason)
        return len(ended)

    def _running(self) -> list["CallSupervisor"]:
        return [*self._young, *self._older, *self._watched]

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        self._older, self._young = {}, {}
        if loop is not self._served:
            self._served, self._watched, self.over = loop, {}, False
        self._loop = loop
        detached.later(GRACE_S, self._look)  # of all calls, and not of the first one

    def _look(self) -> None:
        """What was young at the last look and is still here begins to be watched."""
        late, self._older, self._young = self._older, self._young, {}
        now_ns = time.time_ns()
        for watch in self._older:
            watch.since_ns = now_ns
        self._watched |= late
        for watch in late:
            watch.context.run(watch.start)
        if not self._older:
            self._loop = None
        elif self._loop is not None:
            self._loop.call_later(GRACE_S, self._look)


class Waiting(Protocol):
    """Who waits for a call: asked only once the call is taking its time (`engine.call.Channel` is one)."""

    @property
    def hung_up(self) -> Callable[[], Awaitable[None]] | None:
        """Returns when the client has gone; None where its going ends no call."""

    @property
    def quiet_s(self) -> float | None:
        """How long a call may say nothing before `stay_open`; None where silence ends no connection."""

    async def stay_open(self) -> None:
        """Say that the call goes on: proxies and clients close connections on which nothing comes."""


class CallSupervisor:
    """Cancels the task that made it, from `begin` to `stop`; `reason` says why, None that somebody else did.

    A task does one thing after the other under the same one: it reads a body, runs the call, and a batch's next one.
    """

    # Of the class until a call takes its time, which few do: each request makes one of these.
    reason: CancelReason | None = None
    _limit: float
    about: object = None
    """What is running."""
    _waiting: Waiting | None = None
    _watch: asyncio.Task[None] | None = None
    _timers: tuple[asyncio.Handle, ...] = ()
    _absorbed: bool | None = None
    _cancellation: Cancellation | None = None
    _since = 0.0
    since_ns = 0
    """When what runs was first seen at it, `GRACE_S` at most after it began; 0 of what has not taken so long."""

    def __init__(self, watches: CallSupervisors) -> None:
        self._watches = watches
        self.context = contextvars.copy_context()
        """The call's own, in which its timers are made: what they log, and do at a store, is of no other request."""
        self._loop = asyncio.get_running_loop()
        self._answering = asyncio.current_task(self._loop)

    def begin(self, limit_s: float, waiting: Waiting | None = None, about: object = None, since: float = 0.0) -> None:
        """What may take `limit_s` seconds begins now, and what the last one came to is forgotten."""
        self._limit, self._waiting, self.about, self._since = limit_s, waiting, about, since
        if about is not None:  # what is known by now: who calls, and the trace
            self.context = contextvars.copy_context()
        if self.reason is not None:
            self.reason = None
        self._watches.add(self, self._loop)
        if self._watches.over:  # of what ends before that, `stop` takes it back: the answer would be cut off
            self._timers += (self._loop.call_soon(self.end, "stopping"),)

    def stop(self) -> None:
        """It is over.

        A handler may have swallowed the cancellation: what the same task does next (a batch's other items, the answer)
        must not be taken for cancelled, too.
        """
        if self._cancellation is not None:
            self.absorb_cancellation()
            self._cancellation.over()
            self._cancellation = None
        self._watches.remove(self)
        # Who waits refers to this: a circle for each request would wait for the garbage collector.
        self._waiting = self.about = None
        if self._timers:
            self._end_watching()

    def cancelled(self) -> None:
        """The client does not want the answer any more."""
        self.end("cancelled")

    def absorb_cancellation(self) -> bool:
        """Whether a cancellation was ours: the task then goes on, to say so."""
        if self._cancellation is None:
            return False
        if self._absorbed is None:
            self._absorbed = self._cancellation.undo()
        return self._absorbed

    def start(self) -> None:
        """The call is taking its time: from now on it is watched."""
        loop = self._loop
        self._timers += (loop.call_later(self._limit, self.end, "timed_out"),)
        if self.about is not None and (later := self._watches.late(self.about)) is not None:
            self._timers += (loop.call_later(*later),)
        if self._waiting is None:
            return
        if (hung_up := self._waiting.hung_up) is not None:
            self._watch = loop.create_task(self._until_gone(hung_up))
        if (quiet_s := self._waiting.quiet_s) is not None:
            self._timers += (loop.call_later(quiet_s, self._begin_staying, self._waiting),)

    def _end_watching(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers = ()
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    async def _until_gone(self, hung_up: Callable[[], Awaitable[None]]) -> None:
        await hung_up()
        self.end("disconnected")

    def _begin_staying(self, waiting: Waiting) -> None:
        # Not among the tasks that `stop` cancels: in the middle of a stream's head it would leave neither answer.
        staying = asyncio.ensure_future(_quietly(waiting))
        self._watches.staying.add(staying)
        staying.add_done_callback(self._watches.staying.discard)

    def end(self, reason: CancelReason) -> None:
        """Cancel the call, and again where its handler swallows that; only the first reason counts.

        Who waits for it is answered by then, but its slots come back with its real end: a flood of calls whose handlers
        do not end would else pile these up.
        """
        if self._cancellation is None and self._answering is not None:
            self.reason, self._absorbed = reason, None
            self.context.run(self._cancel, self._answering, reason)

    def _cancel(self, task: "asyncio.Task[Any]", reason: CancelReason) -> None:
        self._cancellation = Cancellation(task, getattr(self.about, "name", ""), reason)
        self._timers += (self._loop.call_later(ANSWER_S, self._outlived, reason),)

    def _outlived(self, reason: CancelReason) -> None:
        self._watches.outlived(self.about, reason, self._since)


async def _quietly(waiting: Waiting) -> None:
    """A client that cannot be told will be noticed by whoever sends it the answer."""
    try:
        await waiting.stay_open()
    except Exception as error:  # noqa: BLE001 - the call itself goes on
        logger.info("a waiting client cannot be told", reason=type(error).__name__)
