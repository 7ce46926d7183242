"""What a writer of lines writes to, and who is told how it fares."""

import threading

from mcp_server.observe.writing.writer import Watcher


class Memory:
    """An outlet that takes lines when its gate is open."""

    def __init__(self) -> None:
        self.taken, self.gate, self.inside = bytearray(), threading.Event(), threading.Event()
        self.gate.set()
        self.error: OSError | None = None
        self.closed = 0

    def open(self) -> None:
        """Nothing is to be opened."""

    def write(self, lines: bytearray, wait_s: float) -> None:
        self.inside.set()
        self.gate.wait()
        if self.error is not None and lines:
            raise self.error
        self.taken += lines
        lines.clear()

    def close(self) -> None:
        self.closed += 1


class Told(Watcher):
    def __init__(self) -> None:
        self.lost = 0

    def dropped(self, lines: int, reason: str = "") -> None:
        self.lost += lines

    def more(self, lines: int) -> bytes | None:
        return b"%d lost" % lines
