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
        self._unsure: set[str] = set()
        """Those of them that another worker may have ended without our hearing of it."""
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
        self.forget(session)
        operations = self.operations()
        if operations is not None and opened.at:
            seconds = max(0.0, self._clock() - opened.at)
            operations.session_over(opened.revision, error, seconds, piped=opened.piped)

    def forget(self, session: str) -> None:
        """It is over, and counted, or by another worker."""
        self._open.pop(session, None)
        self._unsure.discard(session)

    def missed(self) -> None:
        """That another worker has ended some may have been missed, which has counted them then."""
        self._unsure = set(self._open)

    async def look(self) -> None:
        """Tell of those that have expired; raises `StoreUnavailable`."""
        for session, opened in list(self._open.items()):
            unsure = session in self._unsure
            if opened.piped or not (unsure or self._clock() - opened.at >= self._idle_s):
                continue
            self._unsure.discard(session)  # before: what is missed while the store is asked is another doubt
            if await self._asked(session, unsure=unsure) or session not in self._open:
                continue  # it lives, or somebody has ended it meanwhile
            if unsure:
                self.forget(session)
            else:
                self.ended(session, opened)

    async def _asked(self, session: str, *, unsure: bool) -> bool:
        try:
            return await self._there(session)
        except BaseException:
            if unsure:
                self._unsure.add(session)
            raise

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
