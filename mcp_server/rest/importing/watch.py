"""Document watcher: the leader reads documents again, the other workers take what it has taken.

All of them look once a second what is served, so they differ for a second and as long as the largest document takes.
Listeners are told once, by the leader, when every worker has the new list: who lists then meets no old one.
"""

import asyncio
from typing import Final, Protocol

import msgspec

from mcp_server.observe.log import logger
from mcp_server.rest.importing.documents import Documents

POLL_S: Final = 1.0
SETTLE_S: Final = 0.5
RETRY_S: Final = 30.0
"""A document that cannot be used is looked at again, though none is read again otherwise."""
PATIENCE_S: Final = 10.0
"""A worker that has not taken a new document by then is not waited for."""


class Watching(msgspec.Struct, frozen=True, kw_only=True):
    """How documents are looked at: `reload_s` 0 is only when a worker begins."""

    reload_s: float = 0
    settle_s: float = SETTLE_S
    poll_s: float = POLL_S
    documents: Documents = msgspec.field(default_factory=Documents)

    @property
    def goes_on(self) -> bool:
        """Whether anything may happen after the start."""
        return bool(self.reload_s) or self.documents.between_workers


class Apis(Protocol):
    """What is looked at."""

    unsettled: bool

    async def reload(self) -> bool:
        """Look at the documents, and take what is new."""

    async def follow(self) -> bool:
        """Take what the leader has taken."""

    def tell(self, *, at_once: bool = False) -> bool:
        """Tell listeners of it."""

    def failed(self, problems: dict[str, str]) -> None:
        """What went wrong on this worker."""


class Watcher:
    """One worker's turns: each follows, and the one that leads looks and tells."""

    def __init__(self, apis: Apis, how: Watching, now: float) -> None:
        self._apis, self._how = apis, how
        self._due = now + (how.reload_s or RETRY_S)
        self._waiting: float | None = None

    async def turn(self, now: float) -> None:
        """One look; what goes wrong is told, and the next time may go well."""
        try:
            await self._apis.follow()
            if self._how.documents.leads():
                await self._lead(now)
            self._apis.failed({})
        except Exception as error:  # noqa: BLE001 - see above; the document before is served
            logger.exception("documents could not be read again")
            self._apis.failed({"": type(error).__name__})

    async def _lead(self, now: float) -> None:
        documents, again_s = self._how.documents, self._how.reload_s
        wanted = again_s or documents.state().problems or self._apis.unsettled
        if documents.asked() or (wanted and now >= self._due):
            await self._apis.reload()
            self._due = now + (self._how.poll_s if self._apis.unsettled else again_s or RETRY_S)
        if self._apis.tell(at_once=self._waiting is not None and now > self._waiting + PATIENCE_S):
            self._waiting = None
        elif self._waiting is None:
            self._waiting = now


async def watch(apis: Apis, how: Watching) -> None:
    """Take turns until it is cancelled."""
    clock = asyncio.get_running_loop().time
    watcher = Watcher(apis, how, clock())
    while True:
        await asyncio.sleep(min(how.poll_s, how.reload_s or how.poll_s))
        await watcher.turn(clock())
