"""Ledger of revocations in a folder: how the workers of one machine share them where they share no store.

One file, to which a line is added under a lock, and of which each worker reads what is new a few times a second. It is
written anew when it has doubled, and ends with the server.
"""

import asyncio
import contextlib
import errno
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from mcp_server import atomic_file, detached
from mcp_server.file_lock import FileLock
from mcp_server.store.revocations import MAX_ENTRIES, Revocation, decoded, digest_of, first_to_go

FILE: Final = "revoked.jsonl"
_LOCK: Final = "revoked.lock"
LOCK_S: Final = 1.0
"""How long one waits for the lock: a worker that is stopped while it holds it must not hold up others' logouts."""
LOOK_S: Final = 0.02
COMPACT: Final = 4_000_000
"""Bytes. What is less is never written anew: a logout costs the same, however many are known."""
_encode = msgspec.json.Encoder().encode


class FilePosition(msgspec.Struct, frozen=True):
    """Position in a file: how far it was read."""

    inode: int = 0
    end: int = 0


class FolderLedger:
    """The file of one server; the folder is readable for its user alone."""

    def __init__(self, folder: Path, max_entries: int = MAX_ENTRIES, compact: int = COMPACT) -> None:
        self._folder, self._file, self._max = folder, folder / FILE, max_entries
        self._waiting: list[tuple[Revocation, asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None
        self._read_to = FilePosition()
        self._least = self._base = compact
        """Bytes of it when it was last written anew, as far as is known."""

    async def keep(self, one: Revocation) -> None:
        """Keep one. Those that come while others are written go together with the next write (group commit).

        One after the other, the last of a burst of logouts would wait for longer than for the lock of a worker that is
        stopped, and its issuer be told that it failed.
        """
        kept = asyncio.get_running_loop().create_future()
        self._waiting.append((one, kept))
        if self._writer is None or self._writer.done():
            self._writer = detached.task(self._write_all())
        await kept

    async def first(self, one: Revocation) -> bool:
        """By a file that only one can make."""
        path = self._folder / f"audited-{digest_of(one)}"
        with contextlib.suppress(FileExistsError):
            await asyncio.to_thread(path.touch, 0o600, exist_ok=False)
            return True
        return False

    async def _write_all(self) -> None:
        """Write what waits, and what comes meanwhile; takes up no thread while somebody else has the lock."""
        while self._waiting:
            batch, self._waiting = self._waiting, []
            waiting = [kept for _, kept in batch]
            try:
                await self._write_in_time([one for one, _ in batch])
            except BaseException as error:  # who waits learns of it, whatever it is
                _tell(waiting, _known(error))
                if isinstance(error, asyncio.CancelledError):
                    raise
            else:
                _tell(waiting, None)

    async def _write_in_time(self, ones: list[Revocation]) -> None:
        try:
            async with asyncio.timeout(LOCK_S):
                while not await asyncio.to_thread(self._write, ones):  # noqa: ASYNC110 - the kernel tells nobody
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            raise OSError(errno.EBUSY, "another process holds it", str(self._folder / _LOCK)) from None

    async def read(self, *, anew: bool = True) -> list[Revocation]:
        """All that are kept, or those since the last reading."""
        found, place = await asyncio.to_thread(self._read, FilePosition() if anew else self._read_to)
        if place.inode != self._read_to.inode:
            self._base = max(self._least, place.end)
        self._read_to = place
        return found

    def changed(self) -> bool:
        """Whether the file is another one than at the last reading, or longer."""
        try:
            found = self._file.stat()
        except OSError:
            return False
        return FilePosition(found.st_ino, found.st_size) != self._read_to

    def _write(self, ones: list[Revocation]) -> bool:
        """Add some; False where somebody else holds the lock.

        It begins with an end of line: what a full disk cut off before it is a line of its own, and left out.
        """
        with self._locked() as mine:
            if mine:
                with open(self._file, "ab", opener=_private) as file:
                    file.write(b"".join(b"\n" + _encode(one) + b"\n" for one in ones))
                    size = file.tell()
                if size > 2 * self._base:
                    self._compact()
            return mine

    def _compact(self) -> None:
        """Write it anew, without those whose time is over or that are too many."""
        now = time.time()
        live = [one for one in self._read(FilePosition())[0] if now < one.until]
        gone = {id(one) for one in first_to_go(live, self._max)}
        data = b"".join(_encode(one) + b"\n" for one in live if id(one) not in gone)
        atomic_file.write(self._file, data)
        self._base = max(self._least, len(data))

    def _read(self, since: FilePosition) -> tuple[list[Revocation], FilePosition]:
        """The whole lines from a place on, all of them where the file is another one; and the place after them."""
        try:
            with self._file.open("rb") as file:
                there = os.fstat(file.fileno())
                begin = since.end if there.st_ino == since.inode and since.end <= there.st_size else 0
                file.seek(begin)
                data = file.read()
        except FileNotFoundError:
            return [], FilePosition()
        whole = data.rfind(b"\n") + 1  # the rest is being written
        lines = [line for line in data[:whole].split(b"\n") if line]
        return decoded(lines), FilePosition(there.st_ino, begin + whole)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[bool]:
        """Whether it is ours: what was added while another wrote the file anew would be lost."""
        lock = FileLock(self._folder / _LOCK)
        try:
            yield lock.take()
        finally:
            lock.drop()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _tell(waiting: Iterable[asyncio.Future[None]], failed: OSError | None) -> None:
    """Whoever waits for a write how it went."""
    for kept in waiting:
        if not kept.done():  # else its caller has gone
            kept.set_result(None) if failed is None else kept.set_exception(failed)


def _known(error: BaseException) -> OSError:
    """What a ledger may raise."""
    return error if isinstance(error, OSError) else OSError(errno.EIO, f"not written: {type(error).__name__}")
