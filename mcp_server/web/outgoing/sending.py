"""Large answers: sent in parts, with a deadline, and a concurrency limiter for the bytes that wait to be read.

An answer sent in one piece is the server's to hold until its client reads it: sixty connections that read nothing held
600 MB. In parts, `send` waits for the client, and who does not read loses its connection.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

from mcp_server.engine.drain import Drain
from mcp_server.limits.concurrency import ConcurrencyLimiter
from mcp_server.observe.log import logger

LARGE: Final = 256 * 1024
"""An answer up to this is sent in one piece and not counted."""
PART: Final = 64 * 1024


class Outgoing:
    """Sends large answers. `body_timeout_s` is what reading one of `max_body` bytes may take, more takes more.

    `drain` knows whether an answer ends its connection (`closing.py`).
    """

    def __init__(self, limiter: ConcurrencyLimiter, max_body: int, body_timeout_s: float, drain: Drain) -> None:
        self._limiter, self._max_body, self._timeout_s, self.drain = limiter, max_body, body_timeout_s, drain

    @contextmanager
    def room(self, who: str, size: int) -> Iterator[bool]:
        """Whether there is room for an answer, which is given back at the end.

        One that is larger than all its caller may hold is sent when nothing else is under way for it.
        """
        counted = min(size, self._limiter.most(who)) if size > LARGE else 0
        if counted and not self._limiter.acquire(who, counted):
            yield False
            return
        try:
            yield True
        finally:
            if counted:
                self._limiter.release(who, counted)

    async def send(self, send: Any, body: bytes) -> None:
        """A body whose head is sent; after its deadline it breaks off, and the server closes the connection."""
        async with self.deadline(len(body)):
            for part, last in parts(body):
                await send({"type": "http.response.body", "body": part, "more_body": not last})

    @asynccontextmanager
    async def deadline(self, size: int) -> AsyncIterator[None]:
        """How long a client may take to read this many bytes; after that the answer is broken off."""
        try:
            async with asyncio.timeout(self._timeout_s * max(1, size / self._max_body)):
                yield
        except TimeoutError:
            logger.info("an answer is not read", reason="answer_not_read")


def parts(body: bytes) -> Iterator[tuple[bytes, bool]]:
    """What is handed over at once, and whether it is the last; what is not large is whole."""
    size = PART if len(body) > LARGE else max(len(body), 1)
    for start in range(0, max(len(body), 1), size):
        yield body[start : start + size], start + size >= len(body)
