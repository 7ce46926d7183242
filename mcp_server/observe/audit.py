"""The audit: a JSON line for each decision, to a sink of its own with rotation; never a token, only its digest."""

import fcntl
import os
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Final

import msgspec

from mcp_server.observe.gathering import Gathering

STDOUT: Final = "-"
MAX_GATHERED: Final = 64 * 1024


class Decision(msgspec.Struct, omit_defaults=True):
    """Who asked for what, and what was decided why. `time` is in seconds since the epoch."""

    time: float
    decision: str
    reason: str = ""
    request_id: str = ""
    address: str = ""
    trace_id: str = ""
    issuer: str = ""
    subject: str = ""
    client: str = ""
    method: str = ""
    tool: str = ""
    needed: Collection[str] = ()
    held: Collection[str] = ()
    token: str = ""
    kind: str = ""
    """`client` where a client acted for itself."""


class AuditLog:
    """Decisions to a file or stdout, gathered for `GATHER_S` or `MAX_GATHERED` bytes: many lines, one write.

    A file is rotated at `max_bytes` and `keep` old ones are kept; several workers may share it, for each write is one
    append and the rotation is done under a lock.
    """

    def __init__(self, target: str, *, max_bytes: int = 50_000_000, keep: int = 5) -> None:
        self._path = None if target == STDOUT else Path(target)
        self._max_bytes, self._keep = max_bytes, keep
        self._encoder = msgspec.json.Encoder()
        self._buffer = bytearray()
        self._gathering = Gathering(self._write_out)
        self._fd = sys.stdout.fileno() if self._path is None else self._open(self._path)

    def write(self, decision: Decision) -> None:
        """Queue a line; it is written within `GATHER_S`, at once where no loop runs."""
        self._buffer += self._encoder.encode(decision)
        self._buffer += b"\n"
        if len(self._buffer) >= MAX_GATHERED:
            self._write_out()
        elif not self._gathering.begun:
            self._gathering.begin()

    def flush(self) -> None:
        """Write what is queued."""
        self._gathering.end()

    def _write_out(self) -> None:
        lines, self._buffer = bytes(self._buffer), bytearray()
        if not lines:
            return
        if self._path is not None:
            self._follow(self._path)
        while lines:
            lines = lines[os.write(self._fd, lines) :]

    def close(self) -> None:
        """Write the rest and let the file go."""
        self.flush()
        if self._path is not None:
            os.close(self._fd)

    def _follow(self, path: Path) -> None:
        """Rotate when full, and reopen when another worker has."""
        mine = os.fstat(self._fd)
        if mine.st_size >= self._max_bytes:
            self._rotate(path, mine.st_ino)
            self._reopen(path)
        elif not path.exists() or path.stat().st_ino != mine.st_ino:
            self._reopen(path)

    def _rotate(self, path: Path, inode: int) -> None:
        with path.with_name(path.name + ".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists() or path.stat().st_ino != inode:
                return  # another worker was first
            for number in range(self._keep, 1, -1):
                older = path.with_name(f"{path.name}.{number - 1}")
                if older.exists():
                    older.rename(path.with_name(f"{path.name}.{number}"))
            path.rename(path.with_name(f"{path.name}.1"))

    def _reopen(self, path: Path) -> None:
        os.close(self._fd)
        self._fd = self._open(path)

    @staticmethod
    def _open(path: Path) -> int:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
