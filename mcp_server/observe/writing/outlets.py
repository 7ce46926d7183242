"""Append-only outlets for lines: a file that rotates, or a stream (standard output or error, a FIFO)."""

import errno
import os
import select
import stat
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

from loguru import logger

try:
    import fcntl
except ImportError:  # Windows: one process writes there, for granian has no second worker
    fcntl = None  # type: ignore[assignment]

FULL: Final = "nobody reads"
WRITTEN_S: Final = 0.01
"""One write of another worker takes less, from its first byte to its last."""
_never: Final = threading.Event()
_MAX_LINKS: Final = 40
_DEVICES: Final = {("/", "dev"), ("/", "proc")}
_MEMORY: Final = ("/", "dev", "shm")
"""A folder like any other, though it lies under /dev."""
Standard = Literal["stdout", "stderr"]
_PIPE_BUF: Final[int] = getattr(select, "PIPE_BUF", 512)
_NO_WAIT: Final[int] = getattr(os, "O_NONBLOCK", 0)
"""Somebody may have put a FIFO there, whose open would wait for a reader. Windows has no pipes among its files."""
_OPEN: Final[int] = os.O_WRONLY | os.O_APPEND | _NO_WAIT | getattr(os, "O_BINARY", 0)
"""Without O_BINARY Windows would write CR LF."""


def outlet(path: Path | None, *, max_bytes: int, keep: int) -> "RotatingFile | Stream":
    """What writes there; `None` is standard output. Its file is opened by `open`, or by the first line."""
    if path is None or is_stream(path):
        return Stream(path)
    return RotatingFile(path, max_bytes=max_bytes, keep=keep)


def is_stream(path: Path) -> bool:
    """Whether it is no regular file, or leads through /dev or /proc: a rotation would rename /dev/stdout itself."""
    path = path.absolute()
    for _ in range(_MAX_LINKS):
        if path.parts[:2] in _DEVICES and path.parts[:3] != _MEMORY:
            return True
        if not path.is_symlink():
            break
        path = path.parent / path.readlink()
    return path.exists() and not path.is_file()


def has_descriptor(standard: Standard) -> bool:
    """Whether the standard stream is a file of the system's, and not one that a program has put in its place."""
    try:
        getattr(sys, standard).fileno()
    except (AttributeError, OSError, ValueError):  # None; `io.UnsupportedOperation` is both; closed
        return False
    return True


def _readiness(fd: int) -> Callable[[float], bool]:
    """What waits, so many seconds, until a write cannot block; Windows cannot ask a pipe, and may wait for it."""
    if not hasattr(select, "poll"):
        return lambda _: True
    ready = select.poll()
    ready.register(fd, select.POLLOUT)
    return lambda wait_s: bool(ready.poll(wait_s * 1000))


class Stream:
    """Writes whole lines, at most PIPE_BUF bytes at once, and only where that cannot block.

    A write of up to PIPE_BUF bytes to a pipe is atomic (pipe(7)): lines of several workers are not mixed. A blocking
    write to a pipe that nobody reads would hold whoever writes for ever, and at the end the process.
    """

    def __init__(self, path: Path | None, standard: Standard = "stdout") -> None:
        self._path, self._standard = path, standard
        self._fd: int | None = None
        self._ours = False

    def open(self) -> None:
        """Open it now; a path that cannot be used is an `OSError`."""
        try:
            self._fd = self._open() if self._fd is None else self._fd
        except OSError as error:
            if self._path is not None and not (error.errno == errno.ENXIO and self._path.is_fifo()):
                raise  # but a FIFO may find its reader later, and a service may run without standard output

    def write(self, lines: bytearray, wait_s: float) -> None:
        """Write and take away from the front; what is left at an `OSError` was not written.

        A reader that is behind is waited for while it takes something every `wait_s` seconds.
        """
        if self._fd is None:
            self._fd = self._open()
        ready = _readiness(self._fd)
        written: list[int] = []
        try:
            while lines:
                if not ready(wait_s):
                    raise BlockingIOError(errno.EAGAIN, FULL)
                # A line longer than PIPE_BUF goes in pieces, and another worker's may come between them: a larger write
                # would be no more atomic, and might block half way though poll(2) said that there is room.
                size = lines.rfind(b"\n", 0, _PIPE_BUF) + 1 or _PIPE_BUF
                # By one call: a signal's handler may raise as soon as one is over, and what is written must be known.
                written.extend(map(os.write, (self._fd,), (lines[:size],)))
                del lines[: written[0]]
                written.clear()
        except BlockingIOError as error:
            raise BlockingIOError(errno.EAGAIN, FULL) from error
        except OSError:
            self.close()
            raise
        finally:
            if written:
                del lines[: written[0]]

    def close(self) -> None:
        """Let it go; a line that comes later opens it again."""
        fd, self._fd = self._fd, None
        if fd is not None and self._ours:
            os.close(fd)

    def _open(self) -> int:
        """A descriptor that does not block, where there can be one.

        O_NONBLOCK is a flag of the open file, not of the descriptor: set on an inherited pipe it would be set for the
        parent and for every worker too. /proc opens the pipe anew; two workers that both see its last page free
        cannot block there then. Where that is denied (a pipe of another user, a socket), poll(2) must do.
        """
        if self._path is not None:
            fd, self._ours = os.open(self._path, _OPEN | getattr(os, "O_NOCTTY", 0)), True
            return fd
        if not has_descriptor(self._standard):
            raise OSError(errno.EBADF, f"{self._standard} is closed")
        inherited: int = getattr(sys, self._standard).fileno()
        self._ours = False
        if not stat.S_ISFIFO(os.fstat(inherited).st_mode):
            return inherited
        try:
            fd = os.open(f"/proc/self/fd/{inherited}", os.O_WRONLY | _NO_WAIT)
        except OSError:
            return inherited
        self._ours = True
        return fd


class RotatingFile:
    """A file, rotated at `max_bytes`, of which `keep` old ones are kept; several workers may share it.

    Each write is one append. Only a rotation is locked, and it waits for nobody: who does not get the lock goes on
    appending.
    """

    def __init__(self, path: Path, *, max_bytes: int, keep: int) -> None:
        self._path, self._max_bytes, self._keep = path, max_bytes, keep
        self._stays = ""
        """Why the last rotation failed."""
        self._fd: int | None = None

    def open(self) -> None:
        """Open it now; a path that cannot be used is an `OSError`."""
        self._fd = self._open() if self._fd is None else self._fd

    def write(self, lines: bytearray, _wait_s: float) -> None:
        """Write and take away from the front; what is left at an `OSError` was not written."""
        fd, data = self._descriptor(), bytes(lines)
        if not data.startswith(b"\n") and _ends_torn(fd):
            os.write(fd, b"\n")
        written: list[int] = []
        try:
            while (done := sum(written)) < len(data):
                written.extend(map(os.write, (fd,), (data[done:] if done else data,)))  # by one call, as in a stream
            del lines[:done]
        except BaseException:  # a full disk; what a signal's handler raises; no memory to make them shorter
            done = sum(written)
            whole = data.rfind(b"\n", 0, done) + 1
            del lines[:whole]
            if done > whole and not _cut(fd, done - whole):
                lines[:0] = b"\n"  # the half becomes a line of its own
            raise

    def close(self) -> None:
        """Let it go; a line that comes later opens it again."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def _descriptor(self) -> int:
        """Where to write now: the file is rotated when full, and opened anew when it went away or another rotated."""
        if self._fd is None:
            self._fd = self._open()
        mine, there = os.fstat(self._fd), self._there()
        same = there is not None and os.path.samestat(there, mine)
        if same and (mine.st_size < self._max_bytes or not self._rotated(mine)):
            return self._fd
        new = self._open()  # first: where it fails, the old one is still ours
        # Closed at last: a fork, or what a signal's handler raises, may come in between, and a number that is free
        # again is that of the next file, or connection, of anybody's.
        old, self._fd = self._fd, new
        os.close(old)
        return new

    def _rotated(self, mine: os.stat_result) -> bool:
        """Whether another file is to be written to now. Where a folder may not be changed, its file grows."""
        try:
            done = self._rotate(mine)
        except OSError as error:
            if not self._stays:
                logger.error("the audit cannot be rotated; its file grows", reason=error.strerror, path=str(self._path))
            self._stays = error.strerror or "unknown"
            return False
        self._stays = ""
        return done

    def _rotate(self, mine: os.stat_result) -> bool:
        """Rename under a lock on the file itself, opened anew: a process that was forked shares the descriptor's."""
        lock = os.open(self._path, _OPEN)
        try:
            if fcntl is not None:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            there = self._there()
            if there is None or not os.path.samestat(there, mine) or not os.path.samestat(os.fstat(lock), mine):
                return True  # another worker was first
            self._shift()
            self._path.rename(self._numbered(1))
        except BlockingIOError:
            return False  # another worker is at it
        finally:
            os.close(lock)
        return True

    def _shift(self) -> None:
        """Make `.1` free. Up to the first gap: were the last rename refused, each try would push an old file out."""
        free = next((number for number in range(1, self._keep) if not self._numbered(number).exists()), self._keep)
        for number in range(free, 1, -1):
            self._numbered(number - 1).rename(self._numbered(number))

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")

    def _there(self) -> os.stat_result | None:
        try:
            return self._path.stat()
        except FileNotFoundError:
            return None

    def _open(self) -> int:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return os.open(self._path, (_OPEN & ~os.O_WRONLY) | os.O_RDWR | os.O_CREAT, 0o640)
        except PermissionError:  # a file that may be written and not read
            return os.open(self._path, _OPEN | os.O_CREAT, 0o640)


def _ends_torn(fd: int) -> bool:
    """Whether the file ends in half a line: of a worker that was killed while it wrote; the next line would be lost.

    Half a line that was not there a moment ago, or has grown since, is one that another worker is writing now.
    """
    before = 0
    try:
        while (size := os.fstat(fd).st_size) and os.pread(fd, 1, size - 1) != b"\n":
            if before:
                return size == before
            before = size
            _never.wait(WRITTEN_S)
    except (AttributeError, OSError):  # no `pread` (Windows), or not readable
        return False
    return False


def _cut(fd: int, torn: int) -> bool:
    """Take the half line from the end of the file, unless somebody has written after it or files there only grow.

    Another worker's next line would be unreadable behind it. It cannot append between the look and the cut: the disk
    was full a moment ago, which is why there is a half line.
    """
    try:
        end = os.lseek(fd, 0, os.SEEK_CUR)  # of an append: where it ended
        if os.fstat(fd).st_size != end:
            return False
        os.ftruncate(fd, end - torn)
    except OSError:
        return False
    return True
