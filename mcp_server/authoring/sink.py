"""Where a running call speaks before its result: an SSE stream, a pipe, or nowhere."""

from collections.abc import Callable
from typing import Protocol


class Sink(Protocol):
    """The way to the client of one call."""

    async def send(self, message: bytes) -> None:
        """A notification or, in the legacy eras, a request; returns once the transport has taken it."""

    async def pause(self, retry_ms: int) -> None:
        """Let the connection go; the client comes back for the rest (legacy sessions only)."""


class DeferredSink:
    """The way to the client, opened when the call first speaks: most never do, and a stream costs as much as a call."""

    __slots__ = ("_opened",)

    def __init__(self, opened: Callable[[], Sink]) -> None:
        self._opened = opened

    async def send(self, message: bytes) -> None:
        """Open it, if nobody has, and send."""
        await self._opened().send(message)

    async def pause(self, retry_ms: int) -> None:
        """Open it, if nobody has, and let go."""
        await self._opened().pause(retry_ms)


class NullSink:
    """For calls that have nobody to speak to: a task, whose client looks when it likes."""

    async def send(self, message: bytes) -> None:
        """Nothing is sent."""

    async def pause(self, retry_ms: int) -> None:
        """Nothing is let go."""
