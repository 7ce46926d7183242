"""A hash chain over the lines of the audit: each authenticates itself and names the one before it.

`mac` is an HMAC (RFC 2104) with a key of the operator's over all that stands before it in the line, so over `prev`, the
`mac` of the line before, too. A hash without a key would be no witness against who can write the file: they would
change a line and make all that follow anew. Who has the key, and so who has taken over the server, can still do so:
copy the lines away as they come, or keep the file where the server can only append.

Each worker makes a chain of its own (`chain`, `seq`), for workers share a file and not a memory. So that no chain can
be removed whole, lines name how far the others had come (`after`): a chain's first and last, and one each `LOOK_S`
seconds in which there are any. What no later line names can be cut off unseen: `verify` says which lines those are.
"""

import hmac
import re
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import msgspec

from mcp_server.forking import renew_in_children

NOTHING: Final = "0" * 32
"""What stands for the line before the first."""
LOOK_S: Final = 1.0
"""How often, at most, a chain looks for the others."""
MAX_NAMED: Final = 128
"""Chains that a line names at most, some 5 KB; more at once are more workers than one file has."""
_HEAD: Final = r"[0-9a-f]{16}/[0-9]{1,18}/[0-9a-f]{16}"
_LINE: Final = re.compile(
    rb'\{(?P<body>.*),"chain":"(?P<chain>[0-9a-f]{16})","seq":(?P<seq>[0-9]{1,18})'
    rb'(?:,"after":"(?P<after>%(head)b(?: %(head)b)*)")?'
    rb',"prev":"(?P<prev>[0-9a-f]{32})","mac":"(?P<mac>[0-9a-f]{32})"\}' % {b"head": _HEAD.encode()}
)
_CLOSED: Final = re.compile(rb'"time":[^,"]*,"decision":"closed"')
_END: Final = len(f',"mac":"{NOTHING}"}}')


class Head(msgspec.Struct, frozen=True):
    """How far a chain had come: the number of a line, and the half of its `mac`."""

    chain: str
    seq: int
    mac: str

    def __str__(self) -> str:
        return f"{self.chain}/{self.seq}/{self.mac}"


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """Where in which chain a line stands. `after` are the other chains that it names."""

    chain: str
    seq: int
    prev: str
    mac: str
    after: tuple[Head, ...] = ()
    closes: bool = False

    @property
    def head(self) -> Head:
        """What a later line names it by."""
        return Head(self.chain, self.seq, self.mac[:16])


class _Place(NamedTuple):
    """Where the next line of a chain stands; no name before the first, and after the last."""

    name: str
    seq: int
    prev: str


_NOWHERE: Final = _Place("", 0, NOTHING)


class Chain:
    """Seals the lines of one writer, in their order."""

    def __init__(
        self, key: bytes, heads: Callable[[], Sequence[Link]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`heads` tells what other chains of its file have come to since it was last asked."""
        self._key, self._heads, self._clock = key, heads, clock
        self.begin_anew()
        renew_in_children(self)

    def begin_anew(self) -> None:
        """No line is sealed; a forked child begins a chain of its own, for its parent goes on with this one."""
        self._at = _NOWHERE
        self._look_at = 0.0

    @property
    def begun(self) -> bool:
        """Whether lines were sealed that no last one has closed."""
        return bool(self._at.name)

    def seal(self, lines: list[bytearray], sealed: bytearray) -> None:
        """Take the lines (each a JSON object that has members) to what is sealed, each with its link and its end.

        All or none, whatever fails, as memory does: a number that no line has would be missed. So they are what the
        list has, for others: to make themselves shorter they would need memory, and be sealed twice without.
        """
        done, none, at, looks = bytearray(), bytearray(), self._at, self._clock() >= self._look_at
        for line in bytes(lines[0]).splitlines():
            link, at = self._seal(line, at, looks=looks)
            done += link
            looks = False
        # No call from here on, where a signal's handler may raise.
        sealed += done
        self._at = at
        lines[0] = none

    def _seal(self, line: bytes, at: "_Place", *, looks: bool) -> "tuple[bytes, _Place]":
        closes = _CLOSED.fullmatch(line, 1, len(line) - 1) is not None
        if not at.name:
            at, looks = _Place(secrets.token_hex(8), 0, NOTHING), True
        after = self._after(at.name) if looks or closes else ""
        text = f',"chain":"{at.name}","seq":{at.seq}{after},"prev":"{at.prev}"'
        linked = line[:-1] + text.encode()
        made = mac(self._key, linked)
        return linked + f',"mac":"{made}"}}\n'.encode(), _NOWHERE if closes else _Place(at.name, at.seq + 1, made)

    def _after(self, name: str) -> str:
        others = [str(link.head) for link in self._heads() if link.chain != name]
        self._look_at = self._clock() + LOOK_S
        return f',"after":"{" ".join(others[-MAX_NAMED:])}"' if others else ""


def mac(key: bytes, linked: bytes) -> str:
    """128 bits of HMAC-SHA-256: what is cut off is no help to a forger (NIST SP 800-107 §5.3.3)."""
    return hmac.digest(key, linked, "sha256")[:16].hex()


def read(line: bytes) -> Link | None:
    """The link of a line as it says, true or not; None where it has none."""
    found = _LINE.fullmatch(line)
    if found is None:
        return None
    return Link(
        chain=found["chain"].decode(),
        seq=int(found["seq"]),
        prev=found["prev"].decode(),
        mac=found["mac"].decode(),
        after=tuple(map(head_of, (found["after"] or b"").decode().split())),
        closes=_CLOSED.fullmatch(found["body"]) is not None,
    )


def head_of(text: str) -> Head:
    """What `str` of a head says; `ValueError` for what is none."""
    if re.fullmatch(_HEAD, text) is None:
        raise ValueError(text)
    chain, seq, half = text.split("/")
    return Head(chain, int(seq), half)


def genuine(line: bytes, link: Link, key: bytes) -> bool:
    """Whether somebody with this key wrote the line."""
    return hmac.compare_digest(mac(key, line[:-_END]), link.mac)
