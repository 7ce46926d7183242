"""Ledger of revocations in a folder: how the workers of one machine share them where they share no store.

One file, replaced whole under a lock, which each worker looks at a few times a second. It ends with the server.
"""

import asyncio
import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from mcp_server.store.revocations import MAX_ENTRIES, Revocation, decoded

try:
    import fcntl
except ModuleNotFoundError:  # Windows: two at once, and one of them may be lost there
    fcntl = None  # type: ignore[assignment]

FILE: Final = "revoked.jsonl"
_LOCK: Final = "revoked.lock"
_encode = msgspec.json.Encoder().encode


class FolderLedger:
    """The file of one server; the folder is readable for its user alone."""

    def __init__(self, folder: Path, max_entries: int = MAX_ENTRIES) -> None:
        self._folder, self._max = folder, max_entries
        self._seen = self._stamp()

    async def keep(self, one: Revocation) -> None:
        """Keep one."""
        await asyncio.to_thread(self.write, one)

    async def read(self) -> list[Revocation]:
        """All that are kept."""
        self._seen = self._stamp()  # before: what changes meanwhile is seen at the next look
        return await asyncio.to_thread(self._read)

    def changed(self) -> bool:
        """Whether the file is another one than at the last reading."""
        return self._stamp() != self._seen

    def write(self, one: Revocation) -> None:
        """Add one, without those whose time is over."""
        now = time.time()
        with self._locked():
            kept = [*(known for known in self._read() if now < known.until), one][-self._max :]
            handle, path = tempfile.mkstemp(dir=self._folder)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(b"".join(_encode(each) + b"\n" for each in kept))
                Path(path).replace(self._folder / FILE)
            except BaseException:
                Path(path).unlink(missing_ok=True)
                raise

    def _read(self) -> list[Revocation]:
        try:
            return decoded((self._folder / FILE).read_bytes().splitlines())
        except FileNotFoundError:
            return []

    def _stamp(self) -> tuple[int, int] | None:
        try:
            found = (self._folder / FILE).stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Two workers that wrote at once would each have left out the other's."""
        file = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX)
            yield
        finally:
            os.close(file)
