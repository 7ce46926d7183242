"""Count-min sketch of who holds how much of the shared replay table, by the minute in which it ends.

It knows no names and has one size, however many callers there are. A holder may be counted too high, where each of
four counters is shared with one who floods, and never too low: which counters are whose is keyed, so nobody can aim.
"""

import struct
from typing import Final

from mcp_server.auth.binding.dpop import PROOF_AGE_S, PROOF_AHEAD_S

_ROWS: Final = 4
_WIDTH: Final = 1024
_PART: Final = 4
_MINUTES: Final = (PROOF_AHEAD_S + PROOF_AGE_S) // 60 + 2
"""As long as a proof lives, and the parts of minutes at both ends: none that counts is written over, or not read."""
_SPAN: Final = 2 + _ROWS * _WIDTH
"""Of one minute: which it is, how many end in it, and the counters."""
_PICKED: Final = struct.Struct(f"<{_ROWS}I")
ID_BYTES: Final = _PICKED.size
SIZE: Final = _MINUTES * _SPAN * 4


class CountMinSketch:
    """Count-min sketch in memory that all workers share; whoever uses them holds the lock of the table."""

    def __init__(self, memory: memoryview, room: int) -> None:
        self._counts, self._room = memory.cast("I"), room

    def spent(self, holder: bytes, now: float) -> bool:
        """Whether a holder has a quarter of what is free, or nothing is.

        A bound that moves with what is free (the dynamic thresholds of switches), without a count of the holders: each
        who floods gets a fifth of what those before have left, and who comes next still finds room.
        """
        counts, first, total, mine = self._counts, int(now // 60), 0, [0] * _ROWS
        counters = self._counters(holder)
        for start in range(0, len(counts), _SPAN):
            if first <= counts[start] < first + _MINUTES:
                total += counts[start + 1]
                mine = [sum_ + counts[start + at] for sum_, at in zip(mine, counters, strict=True)]
        return _PART * min(mine) >= self._room - total

    def add(self, holder: bytes, until: float) -> None:
        """Count one more that ends then."""
        counts, minute = self._counts, int(until // 60)
        start = minute % _MINUTES * _SPAN
        if counts[start] != minute:  # of a round before, or of a clock that was set back since
            counts[start : start + _SPAN] = memoryview(bytes(_SPAN * 4)).cast("I")
            counts[start] = minute
        counts[start + 1] += 1
        for at in self._counters(holder):
            counts[start + at] += 1

    def remove(self, holder: bytes, until: float) -> None:
        """Count one less that was to end then, and was counted."""
        counts, minute = self._counts, int(until // 60)
        start = minute % _MINUTES * _SPAN
        if counts[start] == minute:  # else it is counted no more
            for at in (1, *self._counters(holder)):
                counts[start + at] -= 1

    def close(self) -> None:
        """Let go of the memory."""
        self._counts.release()

    @staticmethod
    def _counters(holder: bytes) -> list[int]:
        return [2 + row * _WIDTH + picked % _WIDTH for row, picked in enumerate(_PICKED.unpack(holder))]
