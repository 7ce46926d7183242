"""Ids of traces and spans: random bits that nobody else draws from."""

import functools
import random
import re
from collections.abc import Callable, Iterator
from typing import Final

from mcp_server.forking import renew_in_children


class _Generator(random.Random):
    def begin_anew(self) -> None:
        """Draw what nobody else does: a forked child would have the ids of its parent."""
        self.seed()


_generator: Final = _Generator()
renew_in_children(_generator)
draw: Final = _generator.getrandbits
"""Random bits of ours alone: a handler may seed Python's generator, even with a number that its caller chose, and the
requests after it would have the ids of those before."""
AT_ONCE: Final = 128
"""Ids of traces that are drawn together."""
Drawn = str | tuple[str]
"""An id of a trace; one that is recorded, as few are, in a tuple. So it and its decision are one thing to take."""


class TraceIds:
    """Ids of traces that begin here, drawn many at once, and which of them are recorded.

    One alone costs a busy server twice as much: the generator's 2.5 KB are in no cache when the next request comes.
    """

    def __init__(self) -> None:
        self.begin_anew()
        renew_in_children(self)

    def begin_anew(self) -> None:
        """Have none drawn: they were decided by another bound, or a forked child has the same."""
        self.drawn: list[Drawn] = []
        """Those that are left, to `pop`: another thread may draw anew meanwhile."""

    def draw(self, bound: int) -> Drawn:
        """Draw many; the first of them. A trace is recorded where the last 64 bits of its id are less than `bound`."""
        ids = decided(draw(AT_ONCE * 128).to_bytes(AT_ONCE * 16, "big"), bound)
        first = ids.pop()
        self.drawn = ids
        return first


def decided(ids: bytes, bound: int) -> list[Drawn]:
    """Those of 16 bytes each; one is recorded where its last 64 bits are less than `bound`.

    Only those are compared whose first byte of these may be less: a look at each would be a third of what an id costs.
    """
    texts = ids.hex(" ", 16).split(" ")
    found: list[Drawn] = [*texts]
    for less in _may_be_less(bound)(ids[8::16]):
        place = less.start()
        if bound >> 64 or int.from_bytes(ids[16 * place + 8 : 16 * place + 16], "big") < bound:
            found[place] = (texts[place],)
    return found


@functools.lru_cache(maxsize=8)
def _may_be_less(bound: int) -> Callable[[bytes], Iterator[re.Match[bytes]]]:
    return re.compile(b"[\\x00-\\x%02x]" % ((bound - 1) >> 56) if bound else b"(?!)").finditer


def new_span_id() -> str:
    """16 hex digits, no secret."""
    return f"{draw(64) or 1:016x}"
