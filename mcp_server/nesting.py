"""Depth of JSON: a bound of our own, for the interpreter's is another in each version.

msgspec's decoder goes 996 levels deep before Python 3.12 and 9,999 after; what then walks over the value in Python
ends at 1,000 in all of them.
"""

from array import array
from itertools import accumulate
from typing import Final

MAX_DEPTH: Final = 512
_OTHERS: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")
_OPENING: Final = b"\x01"
_STEPS: Final = bytes({ord("["): 1, ord("{"): 1}.get(byte, 0xFF) for byte in range(256))
"""One up or one down, as signed bytes."""
_PIECE: Final = 256


def too_deep(data: bytes) -> bool:
    """Whether arrays and objects nest deeper than `MAX_DEPTH`; of bytes that are no JSON it says this or that.

    Most messages have fewer brackets than that, which two passes in C tell. Of the others texts are left out first. A
    body may be nothing but brackets, and the loop waits: only in pieces that may reach so deep each is looked at.
    """
    if len(data) <= MAX_DEPTH or data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        return False
    without_escapes = data.replace(rb"\\", b"").replace(rb"\"", b"")  # backslashes stand in texts alone
    steps = b"".join(without_escapes.split(b'"')[::2]).translate(_STEPS, _OTHERS)
    depth = 0
    for start in range(0, len(steps), _PIECE):  # ends early: they may be nothing but openings
        piece = steps[start : start + _PIECE]
        opened = piece.count(_OPENING)
        if depth + opened > MAX_DEPTH and max(accumulate(array("b", piece), initial=depth)) > MAX_DEPTH:
            return True
        depth += 2 * opened - len(piece)
    return False
