"""Shared replay table: the proofs that the workers of one server on one machine have taken, where no store has them.

A table in a file of the server's private folder, mapped into each worker's memory and changed under a lock of the file
(flock(2)): without it the same proof would be good once on each worker. It has a fixed size; an entry is a proof's
digest and when it ends, in the first free one of a few places that the digest names. The digest is keyed with a secret
of the server: a proof's `jti` is its caller's to choose, who could else fill all the places of others' proofs.
"""

import contextlib
import hashlib
import importlib
import mmap
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from mcp_server.auth.binding import count_min_sketch as sketch
from mcp_server.auth.binding.count_min_sketch import CountMinSketch

PLACES_A_WORKER: Final = 1 << 19
"""12 MB. Three quarters are filled at most: then one proof in 100 million finds no free place. One caller gets 78,000
of them: at the default of 100 calls a second on each worker it has 36,500."""
_TRIES: Final = 1000
"""The lock is held for microseconds. A worker that was stopped in it must not stop all others."""
_TRIED: Final = 64
_ENTRY: Final = struct.Struct("<16sd")
_FREED: Final = 1.0
"""The end of what was given back: long ago, and not never."""


class TableFull(Exception):
    """There is no room for a proof that would have to be remembered, or its holder has had an equal part of it."""


class SharedReplayTable:
    """Replay table shared by all processes that name the same file; each opens it when it first uses it."""

    def __init__(self, path: Path, places: int, key: bytes) -> None:
        """`key` is the same for all of them, and known to nobody else."""
        self._path, self._places, self._key = path, places, key
        self._file = -1
        self._table: mmap.mmap | None = None
        self._sketch: CountMinSketch
        self._fcntl: Any = None

    def claim(self, holder: str, proof_id: str, until: float, *, now: float) -> bool:
        """Whether nobody has claimed it yet; raises `OSError`, and `TableFull` where there is no place for it."""
        table = self._table or self._open()
        digest = self._keyed(f"{holder}\n{proof_id}", 16)
        who = self._keyed(holder, sketch.ID_BYTES)
        self._lock()
        try:
            free = self._find(table, digest, now)
            if free is None:
                return False
            if free < 0 or self._sketch.spent(who, now):
                raise TableFull
            _ENTRY.pack_into(table, free, digest, until)
            self._sketch.add(who, until)
            return True
        finally:
            self._fcntl.flock(self._file, self._fcntl.LOCK_UN)

    def give_back(self, holder: str, proof_id: str, until: float, *, now: float) -> None:
        """Forget a proof that was claimed until then, and by which nothing was done; raises `OSError`."""
        table = self._table or self._open()
        digest = self._keyed(f"{holder}\n{proof_id}", 16)
        self._lock()
        try:
            for place in self._places_of(digest):
                held, ends = _ENTRY.unpack_from(table, place)
                if held == digest and ends > now:
                    _ENTRY.pack_into(table, place, digest, _FREED)
                    self._sketch.remove(self._keyed(holder, sketch.ID_BYTES), until)
                    return
        finally:
            self._fcntl.flock(self._file, self._fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go of the file; it can be used again."""
        if self._table is not None:
            self._sketch.close()
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

    def _keyed(self, text: str, size: int) -> bytes:
        return hashlib.blake2b(text.encode(), key=self._key, digest_size=size).digest()

    def _find(self, table: mmap.mmap, digest: bytes, now: float) -> int | None:
        """The first free place, -1 where none is; None where it is claimed already."""
        free = -1
        for place in self._places_of(digest):
            held, ends = _ENTRY.unpack_from(table, place)
            if held == digest and ends > now:
                return None
            if ends <= now and free < 0:
                free = place
            if not ends:  # never used: had this proof come before, it would lie here, or in a place before
                break
        return free

    def _places_of(self, digest: bytes) -> Iterator[int]:
        """Where a proof may lie, by double hashing.

        Places that follow each other fill in runs, and a run of 64 comes long before the table is full.
        """
        place, stride = int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little") | 1
        for _ in range(min(_TRIED, self._places)):
            place = (place + stride) % self._places
            yield place * _ENTRY.size

    def _open(self) -> mmap.mmap:
        try:
            self._fcntl = importlib.import_module("fcntl")
        except ImportError as error:  # Windows: several workers without a store refuse what is bound by DPoP there
            raise OSError("files cannot be locked here") from error
        entries = self._places * _ENTRY.size
        size = entries + sketch.SIZE
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(file).st_size < size:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file, 0, size)  # with holes, a full disk would kill who writes (SIGBUS)
                else:  # pragma: no cover - macOS
                    os.ftruncate(file, size)
            table = mmap.mmap(file, size)
        except BaseException:  # of a full disk, which each call asks anew: descriptors would run out for all callers
            os.close(file)
            raise
        self._sketch = CountMinSketch(memoryview(table)[entries:], self._places * 3 // 4)
        self._file, self._table = file, table
        return table
