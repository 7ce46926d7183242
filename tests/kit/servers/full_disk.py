"""A program for a test: writes lines to a small disk, fills it, writes on, makes room, and says what became of all."""

import contextlib
import os
import sys
from pathlib import Path

import msgspec

from mcp_server.observe.writing import writer as module
from mcp_server.observe.writing.outlets import RotatingFile
from mcp_server.observe.writing.writer import LineWriter, Watcher

TRIES = 5
LINE = 100


class Heard(Watcher):
    """What a writer tells."""

    def __init__(self) -> None:
        self.lost = 0
        self.reason = ""

    def dropped(self, lines: int, reason: str = "") -> None:
        self.lost += lines

    def failed(self, reason: str, *, first: bool) -> None:
        self.reason = reason

    def more(self, lines: int) -> bytes:
        return b'{"lost":%d}' % lines


def line(number: int) -> bytes:
    return b'{"line":%d}' % number + b" " * LINE


def files(folder: Path) -> list[Path]:
    """The newest last."""
    return [*sorted(folder.glob("audit.jsonl.*"), reverse=True), folder / "audit.jsonl"]


def written(folder: Path) -> list[dict[str, object]]:
    return [msgspec.json.decode(one) for file in files(folder) for one in file.read_bytes().splitlines()]


def numbers(folder: Path) -> list[object]:
    return [one["line"] for one in written(folder) if "line" in one]


def main(folder: Path) -> None:
    vars(module).update(RETRY_S=0.01, MAX_KEPT=40 * LINE)
    heard = Heard()
    lines = LineWriter(RotatingFile(folder / "audit.jsonl", max_bytes=10_000, keep=2), heard)
    for number in range(250):
        lines.put(line(number))
        lines.flush()
    history = numbers(folder)
    with contextlib.suppress(OSError), (folder / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(b"x" * 1024)
    for number in range(1000, 1100):
        lines.put(line(number))
        lines.flush(0.1)
    for _ in range(TRIES):
        lines.flush()
    full, names = numbers(folder), sorted(one.name for one in files(folder))
    (folder / "filler").unlink()
    lines.flush()
    lines.put(b'{"after":"after"}')
    lines.close()
    found = written(folder)
    gained = [one["line"] for one in found if "line" in one and one["line"] not in history]
    said = {
        "reason": heard.reason,
        "history": history,
        "history_when_full": [one for one in full if one in history],
        "gained": gained,
        "kept": list(range(1000, 1000 + len(gained))),
        "said": 100,
        "dropped": heard.lost,
        "told": [one["lost"] for one in found if "lost" in one],
        "after": [one["after"] for one in found if "after" in one],
        "files": sorted(one.name for one in files(folder)),
        "files_when_full": names,
    }
    os.write(1, msgspec.json.encode(said))


main(Path(sys.argv[1]))
