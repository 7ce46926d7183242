"""Advisory file lock: what tells a worker that lives from one that died, for the kernel drops it however that was."""

import os
from pathlib import Path

from mcp_server.forking import renew_in_children

try:
    import fcntl
except ModuleNotFoundError:  # Windows: everybody has every lock
    fcntl = None  # type: ignore[assignment]


class FileLock:
    """Advisory lock of a file (flock(2)), held until it is dropped or its process ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None
        self._taken = False

    def take(self) -> bool:
        """Whether it is ours now."""
        if self._file is None:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
            renew_in_children(self)
        if fcntl is not None and not self._taken:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        self._taken = True
        return True

    def write(self, text: str) -> None:
        """What others read while it is held."""
        if self._file is not None:
            os.lseek(self._file, 0, os.SEEK_SET)
            os.write(self._file, text.encode())

    def read(self) -> str:
        """What who holds it has written."""
        return self.path.read_text("ascii")

    def drop(self) -> None:
        """Let somebody else have it."""
        file, taken, self._file, self._taken = self._file, self._taken, None, False
        if file is not None:
            (release if taken else os.close)(file)

    def begin_anew(self) -> None:
        """Close what a forked child has of it, which would hold the lock when its worker is long dead.

        The lock is its parent's, and must not be given up here.
        """
        file, self._file, self._taken = self._file, None, False
        if file is not None:
            os.close(file)


def release(file: int) -> None:
    """Give up the lock of an open file, and close it.

    Closed alone it stays locked for as long as a process has it open that a handler forked meanwhile (flock(2)).
    """
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_UN)
    finally:
        os.close(file)


def share(folder: Path) -> int | None:
    """Hold a folder with others until the file that is returned is released; None where that cannot be."""
    if fcntl is None:
        return None
    file = os.open(folder, os.O_RDONLY)
    fcntl.flock(file, fcntl.LOCK_SH)
    return file


def shared(folder: Path) -> bool:
    """Whether anybody holds a folder: one that a killed process left is held by nobody."""
    if fcntl is None:
        return True
    file = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        release(file)
    return False
