"""Verification of chained audit files: the first line that was changed, removed, added or moved.

A line that nobody could have made without the key is taken as written; what is looked for then is a gap. Two things no
chain can tell by itself, and they are said: lines before those of the oldest file, and, of a chain without its last
line, whether its worker runs still, was killed, or wrote more that was cut off.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from mcp_server.observe.audit import chain
from mcp_server.observe.audit.chain import Link

ALTERED: Final = "it was changed, or sealed with another key"
UNCHAINED: Final = "it is no line of a chain: it was added, or torn"


class Place(msgspec.Struct, frozen=True):
    """A line of a file; `file` counts from 0, the oldest."""

    file: int
    line: int


class BadLine(msgspec.Struct, frozen=True):
    """The first line that is not as it was written, and what is wrong."""

    place: Place
    why: str


class Open(msgspec.Struct, frozen=True):
    """A chain without its last line: it ends here."""

    chain: str
    seq: int
    place: Place


class Verified(msgspec.Struct, kw_only=True):
    """What was found.

    `before` counts lines from before there was a chain; `begun_before` are chains whose first lines are in none of the
    files.
    """

    lines: int = 0
    before: int = 0
    begun_before: list[str] = msgspec.field(default_factory=list)
    open: list[Open] = msgspec.field(default_factory=list)
    bad: BadLine | None = None


class _End(msgspec.Struct):
    """The newest line of a chain so far."""

    link: Link
    place: Place


def verify(files: Iterable[Iterable[bytes]], keys: Sequence[bytes], *, partial: bool = False) -> Verified:
    """Look at all lines, of the oldest file first; each is without its line break.

    `partial` is for files whose elders were rotated away, or that have lines from before there was a chain.
    """
    found, ends = Verified(), dict[str, _End]()
    torn: tuple[Place, bytes] | None = None
    for file, lines in enumerate(files):
        for number, line in enumerate(lines, 1):
            place = Place(file, number)
            if torn is not None:
                if not line.startswith(torn[1]):
                    found.bad = BadLine(torn[0], UNCHAINED)
                    return found
                torn = None
            link = chain.read(line)
            if link is None and partial and not ends:
                found.before += 1
                continue
            if link is None and line and not line.endswith(b"}"):
                torn = place, line  # of a disk that was full: the whole line comes next
                continue
            why = (
                UNCHAINED if link is None else _wrong(line, link, keys) or _misplaced(link, ends, found, place, partial)
            )
            if link is None or why:
                found.bad = BadLine(place, why)
                return found
            ends[link.chain] = _End(link, place)
            found.lines += 1
    if torn is not None:
        found.bad = BadLine(torn[0], UNCHAINED)
    found.open = [Open(one.link.chain, one.link.seq, one.place) for one in ends.values() if not one.link.closes]
    return found


def _wrong(line: bytes, link: Link, keys: Sequence[bytes]) -> str:
    return "" if any(chain.genuine(line, link, key) for key in keys) else ALTERED


def _misplaced(link: Link, ends: dict[str, _End], found: Verified, place: Place, partial: bool) -> str:
    """What is wrong with where it stands."""
    known = ends.get(link.chain)
    if known is not None:
        return _no_successor(link, known.link)
    old = partial and place.file == 0
    if link.seq:
        if not old:
            return f"line{'s' if link.seq > 1 else ''} 0 to {link.seq - 1} of its chain are missing before it"
        found.begun_before.append(link.chain)
        return ""
    if link.after is None:
        return ""
    name, number = link.after
    end = ends.get(name)
    if end is None:
        return "" if old else f"the line that it came after ({name}/{number}) is missing"
    if end.link.seq < number:
        return f"{number - end.link.seq} lines are missing before it: chain {name} ends too early"
    return "" if end.link.seq > number or end.link.mac == link.prev else f"it came after another line {name}/{number}"


def _no_successor(link: Link, before: Link) -> str:
    if link.seq <= before.seq:
        return (
            f"it stands behind line {before.seq} of its chain and is line {link.seq}: it was moved, or is there twice"
        )
    if link.seq > before.seq + 1:
        return f"{link.seq - before.seq - 1} lines of its chain are missing before it"
    return "" if link.prev == before.mac else "it came after another line than the one before it"
