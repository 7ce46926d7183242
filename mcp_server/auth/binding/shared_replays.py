"""Shared replay table: the proofs that the workers of one server on one machine have taken, where no store has them.

A table in a file of the server's private folder, mapped into each worker's memory and changed under a lock of the file
(flock(2)): without it the same proof would be good once on each worker. It has a fixed size; an entry is a proof's
digest and when it ends, in the first free one of a few places that the digest names.
"""

import contextlib
import importlib
import mmap
import os
import struct
from pathlib import Path
from typing import Any, Final

PLACES_A_WORKER: Final = 1 << 17
"""3 MB; the 100,000 proofs that a worker remembers fill three quarters of them."""
_TRIES: Final = 1000
"""The lock is held for microseconds. A worker that was stopped in it must not stop all others."""
_TRIED: Final = 64
_ENTRY: Final = struct.Struct("<16sd")


class TableFull(Exception):
    """There is no room for a proof that would have to be remembered."""


class SharedReplays:
    """Claims of digests by all who name the same file; opened when it is first used, by each process for itself."""

    def __init__(self, path: Path, places: int) -> None:
        self._path, self._places = path, places
        self._file = -1
        self._table: mmap.mmap | None = None
        self._fcntl: Any = None

    def claim(self, digest: bytes, until: float, *, now: float) -> bool:
        """Whether nobody has claimed it yet; raises `OSError`, and `TableFull` where there is no place for it."""
        table = self._table or self._open()
        self._lock()
        try:
            return self._put(table, digest, until, now)
        finally:
            self._fcntl.flock(self._file, self._fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go of the file; it can be used again."""
        if self._table is not None:
            self._table.close()
            os.close(self._file)
            self._table = None

    def _lock(self) -> None:
        for _ in range(_TRIES):
            with contextlib.suppress(BlockingIOError):
                self._fcntl.flock(self._file, self._fcntl.LOCK_EX | self._fcntl.LOCK_NB)
                return
            os.sched_yield()
        raise OSError("the lock of the proofs is held elsewhere")

    def _put(self, table: mmap.mmap, digest: bytes, until: float, now: float) -> bool:
        free, start = -1, int.from_bytes(digest[:8], "little")
        for step in range(min(_TRIED, self._places)):
            place = (start + step) % self._places * _ENTRY.size
            held, ends = _ENTRY.unpack_from(table, place)
            if held == digest and ends > now:
                return False
            if ends <= now and free < 0:
                free = place
        if free < 0:
            raise TableFull
        _ENTRY.pack_into(table, free, digest, until)
        return True

    def _open(self) -> mmap.mmap:
        try:
            self._fcntl = importlib.import_module("fcntl")
        except ImportError as error:  # Windows: several workers without a store refuse what is bound by DPoP there
            raise OSError("files cannot be locked here") from error
        size = self._places * _ENTRY.size
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if os.fstat(self._file).st_size < size:
            os.ftruncate(self._file, size)
        self._table = mmap.mmap(self._file, size)
        return self._table
