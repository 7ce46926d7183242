"""The rate limiter of a worker: allowances, and where workers share a ledger the settling of what they use."""

import asyncio
import contextlib
from typing import Final

from mcp_server import detached
from mcp_server.limits.allowances import Allowances, Ask, Grant, Refusal
from mcp_server.limits.ledger import Ledger
from mcp_server.observe import metrics
from mcp_server.observe.log import logger

PATIENCE_S: Final = 0.25
"""A call waits so long for the store's word, then it is held to this worker's share: a store that hangs is away."""
LAST_S: Final = 1.0


class Limiter:
    """Asks the allowances, and waits for the ledger where they say so. One settling is on its way at a time."""

    def __init__(self, ledger: Ledger | None = None, allowances: Allowances | None = None, *, workers: int = 1) -> None:
        self._ledger = ledger
        self.allowances = allowances or Allowances(shared=ledger is not None, workers=workers)
        self.behind, self.stands = self.allowances.behind, self.allowances.stands
        self.begin = self.allowances.begin
        """Without a ledger it never says `Ask`."""
        self.allowances.changed, self.allowances.alone = self._changed, metrics.limit_not_shared
        self._waiting: dict[Ask, asyncio.Future[None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._settling: asyncio.Task[None] | None = None
        self._away = self._closed = False

    async def wait(self, ask: Ask) -> Grant | Refusal:
        """What becomes of a call that asks."""
        told = self._waiting[ask] = asyncio.get_running_loop().create_future()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE_S):
                    await told
        except BaseException:
            self.allowances.abandon(ask)
            raise
        finally:
            del self._waiting[ask]
        return ask.answer or self.allowances.decide_alone(ask)

    async def stop(self) -> None:
        """Settle what is left and give back what is held, as far as the store takes it; it can begin again."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_S):
                if self._settling is not None:
                    await self._settling
                if self._ledger is not None and (last := self.allowances.give_back()) is not None:
                    self.allowances.apply(last, await self._ledger.settle(last.batch))
        self._settling, self._closed = None, False

    def _changed(self, in_s: float) -> None:
        if self._ledger is None or self._settling is not None or self._closed:
            return  # who settles looks again before it ends
        if in_s:
            loop = asyncio.get_running_loop()
            if self._timer is not None and self._timer.when() > loop.time() + in_s:
                self._timer.cancel()  # one for the renewal of slots, seconds away: what is freed would wait for it
                self._timer = None
            if self._timer is None:
                self._timer = detached.later(in_s, self._settle_soon)
            return
        if self._timer is not None:
            self._timer.cancel()
        self._settle_soon()

    def _settle_soon(self) -> None:
        self._timer = None
        if self._settling is None:
            self._settling = detached.task(self._settle())

    async def _settle(self) -> None:
        """Settle until nobody waits; the rest a moment later, all in one."""
        try:
            while self._ledger is not None and (sent := self.allowances.collect()) is not None:
                settled = None
                try:
                    settled = await self._ledger.settle(sent.batch)
                finally:
                    self.allowances.apply(sent, settled)
                self._tell(away=settled is None)
                for ask in sent.asks:
                    if (told := self._waiting.get(ask)) is not None and not told.done():
                        told.set_result(None)
                if self.allowances.next_s != 0.0:
                    break
        finally:
            self._settling = None
        if (again := self.allowances.next_s) is not None:
            self._changed(again)

    def _tell(self, *, away: bool) -> None:
        """Say it once, each time that it changes."""
        if away and not self._away:
            logger.error("limits are not shared: the store is away, each worker keeps to its share")
        elif self._away and not away:
            logger.info("limits are shared again")
        self._away = away
