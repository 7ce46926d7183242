"""A rotating file, or standard output, whose lines are gathered and kept until they are written."""

import fcntl
import os
import sys
from pathlib import Path
from typing import Final

from mcp_server.observe import metrics
from mcp_server.observe.gathering import Gathering
from mcp_server.observe.log import logger

MAX_GATHERED: Final = 64 * 1024
MAX_KEPT: Final = 8 * 1024 * 1024
"""Bytes of lines that wait while they cannot be written; the oldest are kept, for what began it is among them."""
RETRY_S: Final = 1.0


class Sink:
    """Lines, gathered for `GATHER_S` or `MAX_GATHERED` bytes: many lines, one write.

    A file is rotated at `max_bytes` and `keep` old ones are kept; several workers may share it, for each write is one
    append and the rotation is done under a lock. What cannot be written (a full disk, a pipe that nobody reads, a
    folder that went away and cannot be made) is kept, and tried again every `RETRY_S`.
    """

    def __init__(self, path: Path | None, *, max_bytes: int, keep: int) -> None:
        self._path, self._max_bytes, self._keep = path, max_bytes, keep
        self._lines = bytearray()
        self._gathering = Gathering(self._write_out)
        self._fd: int | None = None
        self.failure = ""
        """Why the last write failed."""
        if path is not None:
            self._fd = self._open(path)  # a path that cannot be used is told at the start

    def write(self, line: bytes) -> None:
        """Queue a line."""
        if len(self._lines) + len(line) > MAX_KEPT:
            metrics.audit_lost(1)
            return
        self._lines += line
        self._lines += b"\n"
        if len(self._lines) >= MAX_GATHERED and not self.failure:
            self._write_out()
        elif not self._gathering.begun:
            self._gathering.begin()

    def flush(self) -> None:
        """Write what is queued."""
        self._gathering.end()

    def close(self) -> None:
        """Write the rest and let the file go; a line that comes later opens it again."""
        self.flush()
        if self._lines:
            lost = self._lines.count(b"\n")
            metrics.audit_lost(lost)
            logger.error("lines of the audit are lost", lines=lost, reason=self.failure)
            self._lines = bytearray()
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _write_out(self) -> None:
        if not self._lines:
            return
        lines, done = bytes(self._lines), 0
        view = memoryview(lines)
        try:
            fd = self._descriptor()
            while done < len(lines):
                done += os.write(fd, view[done:])
        except OSError as error:
            self._keep_from(lines, done)
            self._failed(error)
            return
        self._lines = bytearray()
        if self.failure:
            self.failure = ""
            logger.info("the audit is written again")

    def _keep_from(self, lines: bytes, done: int) -> None:
        """Keep what was not written, from the start of its line: the torn half becomes a line of its own."""
        whole = lines.rfind(b"\n", 0, done) + 1
        self._lines = bytearray(b"\n" if done > whole else b"") + lines[whole:]

    def _failed(self, error: OSError) -> None:
        metrics.audit_not_written()
        if not self.failure:
            logger.error("the audit cannot be written; its lines are kept", reason=error.strerror)
        self.failure = error.strerror or type(error).__name__
        self._gathering.later(RETRY_S)

    def _descriptor(self) -> int:
        """Where to write now: the file is rotated when full, and opened anew when it went away or another rotated."""
        if self._path is None:
            return sys.stdout.fileno()
        if self._fd is None:
            self._fd = self._open(self._path)
        mine, there = os.fstat(self._fd), _stat(self._path)
        if there is None or (there.st_dev, there.st_ino) != (mine.st_dev, mine.st_ino):
            self._fd = self._reopened(self._path, self._fd)
        elif mine.st_size >= self._max_bytes:
            self._rotate(self._path, mine.st_ino)
            self._fd = self._reopened(self._path, self._fd)
        return self._fd

    def _rotate(self, path: Path, inode: int) -> None:
        with path.with_name(path.name + ".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            there = _stat(path)
            if there is None or there.st_ino != inode:
                return  # another worker was first
            for number in range(self._keep, 1, -1):
                older = path.with_name(f"{path.name}.{number - 1}")
                if older.exists():
                    older.rename(path.with_name(f"{path.name}.{number}"))
            path.rename(path.with_name(f"{path.name}.1"))

    def _reopened(self, path: Path, old: int) -> int:
        new = self._open(path)  # first: where it fails, the old one is still ours
        os.close(old)
        return new

    @staticmethod
    def _open(path: Path) -> int:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None
