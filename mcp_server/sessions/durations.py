"""How long legacy sessions last, where that is measured: told when one is ended, or when the store has forgotten it.

Nobody sees a session expire in a store. The worker that opened it looks, again and again, whether it is there.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from mcp_server import detached
from mcp_server.observe.telemetry.operations import Operations
from mcp_server.store.backend import StoreUnavailable

LOOK_S: Final = 300.0
"""So much longer a session seems that has expired."""
MAX_WATCHED: Final = 10_000
"""Sessions of one worker that are looked for; of more only those are measured that somebody ends."""


class Opened(NamedTuple):
    """What is told of a session: its revision, when it was opened (since the epoch), and whether over a pipe."""

    revision: str
    at: float
    piped: bool = False


class SessionDurations:
    """Of one worker; `there` is whether the store has a session, which it keeps for `idle_s` when nobody uses it."""

    operations: Callable[[], Operations | None] = staticmethod(lambda: None)
    """Where they are counted, while metrics are exported."""

    def __init__(
        self, there: Callable[[str], Awaitable[bool]], idle_s: float, clock: Callable[[], float] = time.time
    ) -> None:
        self._there, self._idle_s, self._clock = there, idle_s, clock
        self._open: dict[str, Opened] = {}
        self._watching: asyncio.Task[None] | None = None

    def opened(self, session: str, opened: Opened) -> None:
        """A session was opened here; one of the same name is over by that."""
        if self.operations() is None:
            return
        if (before := self._open.pop(session, None)) is not None:
            self.ended(session, before)
        if len(self._open) < MAX_WATCHED:
            self._open[session] = opened
            if self._watching is None or self._watching.done():
                self._watching = detached.task(self._watch())

    def ended(self, session: str, opened: Opened, error: str = "") -> None:
        """A session was ended here, wherever it was opened."""
        self._open.pop(session, None)
        operations = self.operations()
        if operations is not None and opened.at:
            seconds = max(0.0, self._clock() - opened.at)
            operations.session_over(opened.revision, error, seconds, piped=opened.piped)

    def forget(self, session: str) -> None:
        """Another worker has ended it, and told of it."""
        self._open.pop(session, None)

    async def look(self) -> None:
        """Tell of those that have expired; raises `StoreUnavailable`."""
        for session, opened in list(self._open.items()):
            if opened.piped or self._clock() - opened.at < self._idle_s or await self._there(session):
                continue
            if session in self._open:  # else somebody has ended it meanwhile
                self.ended(session, opened)

    async def stop(self, *, lost: bool) -> None:
        """Look no more; where what this process keeps is `lost` with it, its sessions are over."""
        watching, self._watching = self._watching, None
        if watching is not None:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        left, self._open = self._open, {}
        for session, opened in left.items() if lost else ():
            self.ended(session, opened)

    async def _watch(self) -> None:
        while self._open:
            await asyncio.sleep(LOOK_S)
            try:
                await self.look()
            except StoreUnavailable:  # nobody knows: the next look may
                continue
