"""Counters of workers that have ended, merged into one file for each type: none is lost, and scrapes stay short.

Each start of a worker leaves files of its own, and a scrape reads all that there ever were. They are added up under a
lock of the folder that who reads them shares: read in between, a counter would go back, or jump.
"""

import contextlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from prometheus_client.mmap_dict import MmapedDict

from mcp_server import file_lock

try:
    import fcntl
except ModuleNotFoundError:  # Windows: there is one worker, and no such folder
    fcntl = None  # type: ignore[assignment]

ENDED: Final = "ended"
"""Stands in a file's name where others have a process."""
TYPES: Final = ("counter", "histogram")
LOCK: Final = "merging.lock"
_ALIGNED: Final = 8
_HEAD: Final = struct.Struct("ii")
Values = dict[str, tuple[float, float]]
"""By the library's key: the value, and when it was set."""


@contextlib.contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Nothing is merged meanwhile."""
    with _locked(folder, wait=True):
        yield


def merge(folder: Path, pid: int) -> bool:
    """Add up what a process has left; false where somebody reads now. Raises `OSError`, and nothing is changed then."""
    with _locked(folder, wait=False) as mine:
        if mine:
            for kind in TYPES:
                _add(folder / f"{kind}_{pid}.db", folder / f"{kind}_{ENDED}.db")
        return mine


def _add(left: Path, merged: Path) -> None:
    if not left.exists():
        return
    values = _read(merged) if merged.exists() else {}
    for key, (value, at) in _read(left).items():
        before, last = values.get(key, (0.0, 0.0))
        values[key] = before + value, max(at, last)
    new = merged.with_suffix(".new")
    new.write_bytes(_file(values))
    new.replace(merged)
    left.unlink()


def _read(path: Path) -> Values:
    found = MmapedDict.read_all_values_from_file(str(path))  # type: ignore[no-untyped-call]
    return {key: (value, at) for key, value, at, _ in found}


def _file(values: Values) -> bytes:
    """The library's format: the bytes in use, then length, key, padding, value and time of each."""
    entries = b""
    for key, (value, at) in values.items():
        name = key.encode()
        padded = name + b" " * (_ALIGNED - (len(name) + 4) % _ALIGNED)
        entries += struct.pack(f"i{len(padded)}sdd", len(name), padded, value, at)
    return _HEAD.pack(_HEAD.size + len(entries), 0) + entries


@contextlib.contextmanager
def _locked(folder: Path, *, wait: bool) -> Iterator[bool]:
    """Shared by those who wait, who read; whether a single writer has it, who does not."""
    if fcntl is None:
        yield True
        return
    file = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_SH if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        file_lock.release(file)
