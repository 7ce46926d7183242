"""Where a running call speaks before its result: an SSE stream, a pipe, or nowhere."""

from typing import Protocol


class Sink(Protocol):
    """The way to the client of one call."""

    async def send(self, message: bytes) -> None:
        """A notification or, in the legacy eras, a request; returns once the transport has taken it."""

    async def pause(self, retry_ms: int) -> None:
        """Let the connection go; the client comes back for the rest (legacy sessions only)."""


class NullSink:
    """For calls that have nobody to speak to: a task, whose client looks when it likes."""

    async def send(self, message: bytes) -> None:
        """Nothing is sent."""

    async def pause(self, retry_ms: int) -> None:
        """Nothing is let go."""
