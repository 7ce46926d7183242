"""Heartbeats: each worker touches a file of its own, and their parent sees whose loop stands still.

In the file is how ready the worker is, in a word, for the probes of the whole server (`observe/admin/probes`).

A file, as gunicorn does it: it needs no room on a full disk once it is there, and reaches a forked and a spawned worker
alike. Its name is the process, its modification time the last beat.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from mcp_server import atomic_file

BEAT_S: Final = 1.0


class Heartbeat:
    """The worker's side: a beat each second, for as long as its loop turns."""

    def __init__(self, folder: Path, every_s: float = BEAT_S, state: Callable[[], str] = lambda: "ok") -> None:
        self._every_s, self._state, self._said = every_s, state, ""
        self._path = folder / str(os.getpid())

    def start(self) -> None:
        """Begin, in the running loop."""
        with contextlib.suppress(OSError):  # without a first beat nobody looks for the next ones
            self._path.touch()
        self._beat()

    def _beat(self) -> None:
        asyncio.get_running_loop().call_later(self._every_s, self._beat)  # first: whatever fails, the next one comes
        with contextlib.suppress(OSError):  # a folder that went away must not end what it watches over
            os.utime(self._path)
            self._say(self._state())

    def _say(self, state: str) -> None:
        """Replaced whole, for a probe reads it at any time. On a full disk the beat goes on without it."""
        if state != self._said:
            atomic_file.write(self._path, state.encode("ascii"))
            self._said = state


class Watch:
    """The parent's side: who has missed so many looks in a row.

    Looks are counted, not seconds: after a machine was suspended, or a container paused, everybody is late alike, the
    parent too, and nobody hangs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._last: dict[int, tuple[int, int]] = {}

    def look(self, pids: Iterable[int], missed: float) -> list[int]:
        """Those of these processes that hang; one that has never had a beat is still starting."""
        seen = {pid: beat for pid in pids if (beat := self._beat_of(pid)) is not None}
        for gone in self._last.keys() - seen.keys():
            del self._last[gone]
            with contextlib.suppress(OSError):
                (self._folder / str(gone)).unlink()
        for pid, beat in seen.items():
            last, looks = self._last.get(pid, (beat, -1))  # the first look has nothing to compare
            self._last[pid] = (beat, looks + 1 if beat == last else 0)
        return [pid for pid, (_, looks) in self._last.items() if looks >= missed]

    def _beat_of(self, pid: int) -> int | None:
        try:
            return (self._folder / str(pid)).stat().st_mtime_ns
        except OSError:
            return None
