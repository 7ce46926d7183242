"""Verification of chained audit files: the first line that was changed, removed, added or moved.

A line that nobody could have made without the key is taken as written; what is looked for then is a gap, and chains
that a line names and that are not there, or end before. Three things no file can tell by itself, and they are said:
lines before those of the oldest file; of a chain without its last line, whether its worker runs still, was killed, or
wrote more that was cut off; and whether more came behind the lines that no later one names (`ends`).
"""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from mcp_server.observe.audit import chain
from mcp_server.observe.audit.chain import Head, Link

ALTERED: Final = "it was changed, or sealed with another key"
UNCHAINED: Final = "it is no line of a chain: it was added, or torn"
EARLIER: Final = f"{UNCHAINED}, or written before MCP_AUDIT_CHAIN was set: --partial takes such lines at the beginning"
MAX_TORN: Final = 16
"""Halves of lines that are waited for at once: each line behind them is compared with each."""


class Place(msgspec.Struct, frozen=True, order=True):
    """A line of a file; `file` counts from 0, the oldest."""

    file: int
    line: int


class BadLine(msgspec.Struct, frozen=True):
    """The first line that is not as it was written, and what is wrong."""

    place: Place
    why: str


class End(msgspec.Struct, frozen=True):
    """The newest line of a chain, and its time in seconds since the epoch."""

    link: Link
    place: Place
    time: float


class Verified(msgspec.Struct, kw_only=True):
    """What was found.

    `before` counts lines from before there was a chain; `begun_before` are chains whose first lines, or all, are in
    none of the files. `open` are chains without their last line; `ends` are those that no later line names.
    """

    lines: int = 0
    before: int = 0
    begun_before: list[str] = msgspec.field(default_factory=list)
    open: list[End] = msgspec.field(default_factory=list)
    ends: list[End] = msgspec.field(default_factory=list)
    bad: BadLine | None = None
    missing: str = ""
    """Of a head that must be there, why it is not."""


class _Timed(msgspec.Struct):
    time: float


class _Seen(msgspec.Struct):
    """The newest line of each chain so far, where it stands, and how far lines of others name it; `torn` are halves."""

    ends: dict[str, tuple[Link, Place, bytes]] = msgspec.field(default_factory=dict)
    named: dict[str, int] = msgspec.field(default_factory=dict)
    torn: dict[bytes, Place] = msgspec.field(default_factory=dict)

    def mended(self, line: bytes, link: Link) -> bool:
        """Whether halves that a line begins with are of its own worker's last try: nothing of that came between."""
        before = self.ends[link.chain][1] if link.chain in self.ends else Place(-1, 0)
        for half in [one for one in self.torn if line.startswith(one)]:
            if self.torn[half] < before:
                return False
            del self.torn[half]
        return True

    def missing(self, head: Head) -> str:
        """What is not there of a chain that came as far as this."""
        if head.chain not in self.ends:
            return f"chain {head.chain} is missing, with {head.seq + 1} lines or more"
        link = self.ends[head.chain][0]
        if link.seq < head.seq:
            return f"{_missing_lines(head.seq - link.seq)}: {head.chain} ends too early"
        if link.seq == head.seq and link.head != head:
            return f"{head.chain}/{head.seq} is another line than the one that is named"
        return ""

    def name(self, heads: Iterable[Head]) -> None:
        """Remember what a line names; of two workers the later may name less."""
        for head in heads:
            self.named[head.chain] = max(head.seq, self.named.get(head.chain, -1))

    def told(self, found: Verified, heads: Iterable[Head]) -> Verified:
        """With what is said of the ends."""
        found.missing = next(filter(None, map(self.missing, heads)), "")
        ends = [End(link, place, _time(line)) for link, place, line in self.ends.values()]
        ends.sort(key=lambda end: (end.place.file, end.place.line))
        found.open = [one for one in ends if not one.link.closes]
        found.ends = [one for one in ends if self.named.get(one.link.chain, -1) < one.link.seq]
        return found


def verify(
    files: Iterable[Iterable[bytes]], keys: Sequence[bytes], *, partial: bool = False, heads: Sequence[Head] = ()
) -> Verified:
    """Look at all lines, of the oldest file first; each is without its line break.

    Where a disk was full half a line may stand before the whole one, with other workers' lines between them. An empty
    line says nothing: a worker ends half a line that it finds, and its own worker may have done so, too.

    `partial` is for files whose elders were rotated away, or that have lines from before there was a chain.
    `heads` are lines that must be there.
    """
    found, seen = Verified(), _Seen()
    numbered = ((Place(file, number), line) for file, lines in enumerate(files) for number, line in enumerate(lines, 1))
    for place, line in numbered:
        link = chain.read(line)
        if not line or (link is None and partial and not seen.ends):
            found.before += bool(line)
            continue
        if link is None and not line.endswith(b"}") and len(seen.torn) < MAX_TORN:
            seen.torn.setdefault(line, place)
            continue
        unchained = UNCHAINED if partial or seen.ends else EARLIER
        why = unchained if link is None else _wrong(line, link, keys) or _misplaced(link, seen, found, place, partial)
        if link is None or why:
            found.bad = BadLine(place, why)
        elif seen.mended(line, link):
            seen.ends[link.chain] = link, place, line
            seen.name(link.after)
            found.lines += 1
            continue
        break
    if seen.torn:
        found.bad = BadLine(next(iter(seen.torn.values())), UNCHAINED)
    return found if found.bad else seen.told(found, heads)


def _wrong(line: bytes, link: Link, keys: Sequence[bytes]) -> str:
    return "" if any(chain.genuine(line, link, key) for key in keys) else ALTERED


def _misplaced(link: Link, seen: _Seen, found: Verified, place: Place, partial: bool) -> str:
    """What is wrong with where it stands."""
    known, old = seen.ends.get(link.chain), partial and place.file == 0
    if known is not None:
        why = _no_successor(link, known[0])
    elif link.seq and not old:
        why = f"line{'s' if link.seq > 1 else ''} 0 to {link.seq - 1} of its chain are missing before it"
    else:
        why = ""
        if link.seq and link.chain not in found.begun_before:
            found.begun_before.append(link.chain)
    for head in () if why else link.after:
        if old and head.chain not in seen.ends:
            found.begun_before += [] if head.chain in found.begun_before else [head.chain]
        elif why := seen.missing(head):
            return f"it names what is not before it: {why}"
    return why


def _no_successor(link: Link, before: Link) -> str:
    if link.seq <= before.seq:
        return (
            f"it stands behind line {before.seq} of its chain and is line {link.seq}: it was moved, or is there twice"
        )
    if link.seq > before.seq + 1:
        return f"{_missing_lines(link.seq - before.seq - 1)} before it"
    return "" if link.prev == before.mac else "it came after another line than the one before it"


def _missing_lines(count: int) -> str:
    return "1 line of its chain is missing" if count == 1 else f"{count} lines of its chain are missing"


def _time(line: bytes) -> float:
    return msgspec.json.decode(line, type=_Timed).time
