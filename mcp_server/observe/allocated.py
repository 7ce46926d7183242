"""Counters that workers share, in mapped files whose blocks are there before they are written.

The library maps files with holes: where the disk is full, the write that would fill one kills the process (SIGBUS), and
whoever can fill the disk could end every worker.
"""

import mmap
import os
import struct
from pathlib import Path
from typing import Any, Final

from prometheus_client import values
from prometheus_client.mmap_dict import MmapedDict

from mcp_server.observe.log import logger

FIRST_BYTES: Final = 1 << 16
"""As large as the library makes a file."""
BESIDE_KEY: Final = 32
"""Bytes of an entry beside its key: length, padding, value and time."""


class AllocatedDict(MmapedDict):
    """The library's mapped file. Without room for one, its counters are this process's alone, and scrapes lack them."""

    _f: Any
    _m: Any
    _fname: str
    _capacity: int
    _used: int

    def __init__(self, filename: str, read_mode: bool = False) -> None:
        try:
            if not read_mode:
                _create(filename)
        except OSError as error:
            logger.error("counters cannot be shared: scrapes will lack this worker's", reason=error.strerror)
            self._stay_in_memory(filename)
        else:
            super().__init__(filename, read_mode)  # type: ignore[no-untyped-call]

    def _stay_in_memory(self, filename: str) -> None:
        self._fname, self._capacity, self._used = filename, FIRST_BYTES, 8
        self._f, self._m = None, mmap.mmap(-1, FIRST_BYTES)
        self._positions: dict[str, int] = {}
        self._m[:4] = struct.pack("i", self._used)

    def _init_value(self, key: str) -> None:
        """A new entry; raises `OSError` where it has no room, and nothing is changed then."""
        if self._used + len(key.encode()) + BESIDE_KEY > self._capacity:
            if self._f is None:
                raise OSError("no room for a further counter")
            _allocate(self._fname, 2 * self._capacity)
        super()._init_value(key)  # type: ignore[no-untyped-call]


def _create(path: str) -> None:
    """Have a file with its first bytes, whole from the moment that it has its name; raises `OSError`.

    Whoever scrapes meanwhile, in another process or thread, would stumble over an empty one.
    """
    if Path(path).exists():
        _allocate(path, FIRST_BYTES)
        return
    beside = Path(f"{path}.new")  # nobody reads what does not end in .db
    try:
        _allocate(str(beside), FIRST_BYTES)
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


def _allocate(path: str, size: int) -> None:
    """Have a file so many bytes on disk; raises `OSError`. Where the system cannot say so, it stays as it is."""
    with Path(path).open("ab") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)


def use() -> None:
    """From now on; before the first counter is made."""
    values.MmapedDict = AllocatedDict  # type: ignore[attr-defined]
