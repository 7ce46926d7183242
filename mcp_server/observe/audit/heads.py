"""The newest lines of the chains in a file, for a later line to name: else a whole chain could be removed unseen.

What is read here is not verified: who could forge a line for it could as well remove those that nothing names yet.
"""

import os
import stat
from pathlib import Path
from typing import Final

from mcp_server.forking import renew_in_children
from mcp_server.observe.audit.chain import Link, read

WINDOW: Final = 4 * 1024 * 1024
"""Bytes at the end of a file that are read at most: far more than all workers write between two looks."""
_CHAIN: Final = b',"chain":"'
_NAME: Final = len(_CHAIN) + 16
_PLAIN: Final = len(',"chain":"","seq":,"prev":"","mac":""}') + 16 + 18 + 2 * 32
"""A link is no longer than this, unless it names others: what all lines pay here is kept small."""


class Heads:
    """What chains have come to since the last call; each line of a file is read once.

    It looks into the file and into the one that was rotated away from it, no older one: `verify --partial` may then
    take for missing what is named in any but the oldest file.
    """

    def __init__(self, path: Path) -> None:
        self._paths = (path, path.with_name(f"{path.name}.1"))
        self.begin_anew()
        renew_in_children(self)

    def begin_anew(self) -> None:
        """Nothing has been read; a forked child names its parent's chain, too."""
        self._file: tuple[int, int] | None = None
        self._read_to = 0

    def __call__(self) -> list[Link]:
        """The newest lines of chains, but for those that another line names already."""
        parts: list[bytes] = []
        before, since, first, read_to = self._file, self._read_to, None, self._read_to
        for path in self._paths:
            try:
                here, start, data = _unread(path, before, since)
            except OSError:  # the writer finds out what is wrong with it
                continue
            if first is None:
                first, read_to = here, start + data.rfind(b"\n") + 1
            elif here == first:  # rotated since it was read
                continue
            parts.insert(0, data)
            if here == before:
                break
        found = newest(b"".join(parts))
        self._file, self._read_to = first, read_to  # no sooner: memory may run out, and they are read again
        return found


def newest(data: bytes) -> list[Link]:
    """The newest line of each chain, but for those that another line names."""
    ends, naming = dict[bytes, bytes](), list[bytes]()
    for line in data.split(b"\n"):
        at = line.rfind(_CHAIN)
        ends[line[at : at + _NAME]] = line
        if len(line) - at > _PLAIN:
            naming.append(line)
    named = dict[str, int]()
    for head in (head for link in map(read, naming) if link for head in link.after):
        named[head.chain] = max(head.seq, named.get(head.chain, -1))
    return [link for link in map(read, ends.values()) if link and named.get(link.chain, -1) < link.seq]


def _unread(path: Path, before: tuple[int, int] | None, since: int) -> tuple[tuple[int, int], int, bytes]:
    """Which file it is, where what follows begins, and what is there behind what was read."""
    with open(path, "rb", opener=_at_once) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError
        here = (status.st_dev, status.st_ino)
        start = max(since if here == before and since <= status.st_size else 0, status.st_size - WINDOW)
        file.seek(start)
        return here, start, file.read(WINDOW)


def _at_once(path: str, flags: int) -> int:
    """Open without waiting: a FIFO that somebody put there would hold the thread until it has a writer."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
