"""Lines, gathered and kept until a rotating file or a stream has taken them."""

import time
from pathlib import Path
from typing import Final

from mcp_server.observe import metrics
from mcp_server.observe.gathering import DelayedFlush
from mcp_server.observe.log import logger
from mcp_server.observe.outlets import FULL, outlet

MAX_GATHERED: Final = 64 * 1024
MAX_KEPT: Final = 8 * 1024 * 1024
"""Bytes of lines that wait while they cannot be written; the oldest are kept, for what began it is among them."""
RETRY_S: Final = 1.0
"""After a failure; and how long a pipe may be full before that is one."""
DRAIN_S: Final = 0.005
"""When a full pipe is looked at again: it holds 64 KiB, and its reader may only be behind."""
CLOSE_S: Final = 2.0
"""How long the end waits for a reader that is behind."""


class Sink:
    """Lines, gathered for `GATHER_S` or `MAX_GATHERED` bytes: many lines, one write.

    What cannot be written (a full disk, a pipe that nobody reads, a folder that went away and cannot be made) is kept,
    and tried again every `RETRY_S`.
    """

    def __init__(self, path: Path | None, *, max_bytes: int, keep: int) -> None:
        self._outlet = outlet(path, max_bytes=max_bytes, keep=keep)
        self._lines = bytearray()
        self._gathering = DelayedFlush(self._write_out)
        self._full_since: float | None = None
        self.failure = ""
        """Why the last write failed."""

    def open(self) -> None:
        """Open the outlet now, so that a path that cannot be used is an error at the start: it is an `OSError`."""
        self._outlet.open()

    def write(self, line: bytes) -> None:
        """Queue a line."""
        if len(self._lines) + len(line) > MAX_KEPT:
            metrics.audit_lost(1)
            return
        self._lines += line
        self._lines += b"\n"
        if len(self._lines) >= MAX_GATHERED and not self.failure and self._full_since is None:
            self._write_out()
        elif not self._gathering.begun:
            self._gathering.begin()

    def flush(self) -> None:
        """Write what is queued."""
        self._gathering.end()

    def close(self) -> None:
        """Write the rest and let the outlet go; a line that comes later opens it again."""
        self._write_out(CLOSE_S)
        if self._lines:
            lost = self._lines.count(b"\n")
            metrics.audit_lost(lost)
            logger.error("lines of the audit are lost", lines=lost, reason=self.failure or FULL)
            self._lines = bytearray()
        self._outlet.close()

    def _write_out(self, wait_s: float = 0.0) -> None:
        before = len(self._lines)
        if not before:
            return
        try:
            self._outlet.write(self._lines, wait_s)
        except BlockingIOError as error:
            self._full(error, moved=len(self._lines) < before)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not reach the call whose line this is
            self._failed(error)
        else:
            self._full_since = None
            if self.failure:
                self.failure = ""
                logger.info("the audit is written again")

    def _full(self, error: BlockingIOError, *, moved: bool) -> None:
        """A pipe that is full is a failure once nothing of it has been read for `RETRY_S`."""
        now = time.monotonic()
        if moved or self._full_since is None:
            self._full_since = now
        if now - self._full_since >= RETRY_S or not self._again(DRAIN_S):
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        reason = (error.strerror if isinstance(error, OSError) else "") or type(error).__name__
        metrics.audit_not_written()
        if not self.failure:
            logger.error("the audit cannot be written; its lines are kept", reason=reason)
        self.failure = reason
        self._again(RETRY_S)

    def _again(self, seconds: float) -> bool:
        """Try later; one timer at a time. False where no loop runs."""
        return self._gathering.begun or self._gathering.later(seconds)
