"""Graceful shutdown of one worker: lame duck, then no new connections, then an end to what still runs.

A web server that is told to stop waits for every open connection before it runs the application's shutdown, and the
application closes its streams in that shutdown: with one stream open, both wait until they are killed. So the
application drains first, and has its web server stop when there is little left to wait for.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec

from mcp_server.engine.runtime import Runtime
from mcp_server.engine.supervisor import CallSupervisors
from mcp_server.observe.log import logger

LAST_WORDS_S: Final = 1.0
"""How long answers to what was ended may take to be sent."""
LOOK_S: Final = 0.1


class DrainTimes(msgspec.Struct, frozen=True, kw_only=True):
    """For `lame_duck_s` seconds calls are still taken; from then on those that run, and tasks, have `calls_s` to end.

    In the first time balancers and clients learn to go elsewhere.
    """

    lame_duck_s: float
    calls_s: float


class Drain:
    """Serving, until `begin`; from then on `draining`, to the end of the process."""

    def __init__(self, runtime: Runtime, calls: CallSupervisors, last_words_s: float = LAST_WORDS_S) -> None:
        self._runtime, self._calls, self._last_words_s = runtime, calls, last_words_s
        self._ends_at = 0.0
        self._handing_back: asyncio.Task[None] | None = None
        self.draining = False
        """Whether clients shall go elsewhere: each answer closes its connection."""

    def begin(self, times: DrainTimes, stop_accepting: Callable[[], None], leave: Callable[[], None]) -> None:
        """Begin, in the running loop; once more is the same.

        `stop_accepting` tells the web server to stop, which then waits for its connections. `leave` is for what is left
        when all the time is over: a client may not read its answer, or never end its request.
        """
        if self.draining:
            return
        self.draining = True
        loop = asyncio.get_running_loop()
        running, streams = len(self._calls), len(self._runtime.listeners)
        logger.info("draining", streams=streams, calls=running, lame_duck_s=times.lame_duck_s, calls_s=times.calls_s)
        accepts_until = loop.time() + times.lame_duck_s
        self._ends_at = accepts_until + times.calls_s

        # Each step arms the next: what is due at one moment, asyncio may run in any order.
        def accept_no_more() -> None:
            loop.call_at(self._ends_at, end_calls)
            stop_accepting()

        def end_calls() -> None:
            loop.call_at(self._ends_at + self._last_words_s, leave)
            self._end_calls()

        self._runtime.listeners.drain(times.lame_duck_s)
        self._handing_back = loop.create_task(self._runtime.tasks.hand_back())
        loop.call_at(accepts_until, accept_no_more)

    async def finish_tasks(self) -> None:
        """Wait for tasks that work, as long as calls may take; what may be run again has been handed back.

        What has begun since then is handed back now.
        """
        if not self.draining:
            return
        loop = asyncio.get_running_loop()
        self._handing_back = loop.create_task(self._runtime.tasks.hand_back())
        while (working := self._runtime.tasks.working()) and (left_s := self._ends_at - loop.time()) > 0:
            await asyncio.wait(working, timeout=min(left_s, LOOK_S), return_when=asyncio.FIRST_COMPLETED)

    def _end_calls(self) -> None:
        if left := len(self._calls):
            logger.warning("calls are ended, their time is over", calls=left)
        self._calls.end_all()
