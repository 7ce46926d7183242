"""The outbox of a worker: one bounded queue and one sender, so that others hear its events in their order.

Not a task for each event: tasks share a connection pool, which keeps no order, and a burst of events would be as many
tasks as events.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Final

import msgspec

from mcp_server import detached
from mcp_server.observe.log import logger
from mcp_server.store.backend import EVERYBODY, GAP, Message, StoreUnavailable

MAX_WAITING: Final = 10_000
BATCH: Final = 256
"""Messages that go in one step."""


class _Waiting(msgspec.Struct, frozen=True, eq=False):
    message: Message
    sent: asyncio.Future[None] | None = None


class Outbox:
    """Messages on their way. One that is lost is made up for by a `GAP`, at which the others read anew."""

    def __init__(self, publish: Callable[[Sequence[Message]], Awaitable[None]], limit: int = MAX_WAITING) -> None:
        self._publish, self._limit = publish, limit
        self._waiting: dict[Hashable, _Waiting] = {}
        self._sender: asyncio.Task[None] | None = None
        self._lost = False

    async def send(self, worker: str, data: bytes) -> None:
        """Send, and know that it has gone; raises `StoreUnavailable`."""
        if len(self._waiting) >= self._limit:
            raise StoreUnavailable("too many messages to other workers are waiting")
        waiting = _Waiting((worker, data), asyncio.get_running_loop().create_future())
        self._waiting[waiting] = waiting
        self._begin()
        if waiting.sent is not None:
            await waiting.sent

    def send_soon(self, data: bytes) -> None:
        """Send to everybody what can be said again at any time: the same, while it waits, is said once."""
        if data not in self._waiting and len(self._waiting) >= self._limit:
            self._lose("too many messages are waiting")
            return
        self._waiting.setdefault(data, _Waiting((EVERYBODY, data)))
        self._begin()

    def make_up(self) -> None:
        """Tell the others now of what was lost, if anything was: they can be reached again."""
        if self._lost:
            self._begin()

    async def idle(self) -> None:
        """Wait until nothing waits."""
        while self._sender is not None and not self._sender.done():
            await asyncio.wait([self._sender])

    def _begin(self) -> None:
        if self._sender is None or self._sender.done():
            self._sender = detached.task(self._drain())

    async def _drain(self) -> None:
        while self._waiting or self._lost:
            lost, self._lost = self._lost, False
            batch = [self._waiting.pop(key) for key in list(self._waiting)[:BATCH]]
            messages = [one.message for one in batch]
            try:
                await self._publish([(EVERYBODY, GAP), *messages] if lost else messages)
            except Exception as error:  # noqa: BLE001 - who waits for one of them learns of it, the sender goes on
                self._lost |= lost
                self._failed(batch, error)
                if not self._waiting:
                    return  # `make_up` once the store is back, or the next message, tells of what was lost
            else:
                for one in batch:
                    if one.sent is not None and not one.sent.done():
                        one.sent.set_result(None)

    def _failed(self, batch: list[_Waiting], error: Exception) -> None:
        for one in batch:
            if one.sent is None:
                self._lose(str(error))
            elif not one.sent.done():  # its caller may be gone
                one.sent.set_exception(StoreUnavailable(str(error)))

    def _lose(self, reason: str) -> None:
        if not self._lost:  # said once for each time, not for each of ten thousand
            logger.error("other workers were not told", reason=reason)
        self._lost = True
