"""Depth of JSON: a bound of our own, for the interpreter's is another in each version.

msgspec's decoder goes 996 levels deep before Python 3.12 and 9,999 after; what then walks over the value in Python
ends at 1,000 in all of them.
"""

from itertools import accumulate
from typing import Final

MAX_DEPTH: Final = 512
_OTHERS: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")
_STEPS: Final = tuple({ord("["): 1, ord("{"): 1}.get(byte, -1) for byte in range(256))
_PIECE: Final = 4096


def too_deep(data: bytes) -> bool:
    """Whether arrays and objects nest deeper than `MAX_DEPTH`; of bytes that are no JSON it says this or that.

    Most messages have fewer brackets than that, which two passes in C tell. Of the others texts are left out first.
    """
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        return False
    without_escapes = data.replace(rb"\\", b"").replace(rb"\"", b"")  # backslashes stand in texts alone
    brackets = b"".join(without_escapes.split(b'"')[::2]).translate(None, _OTHERS)
    depth = 0
    for start in range(0, len(brackets), _PIECE):  # ends early: a body may be nothing but openings
        depths = [*accumulate(map(_STEPS.__getitem__, brackets[start : start + _PIECE]), initial=depth)]
        if max(depths) > MAX_DEPTH:
            return True
        depth = depths[-1]
    return False
