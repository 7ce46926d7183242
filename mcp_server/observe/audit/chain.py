"""A hash chain over the lines of the audit: each authenticates itself and names the one before it.

`mac` is an HMAC (RFC 2104) with a key of the operator's over all that stands before it in the line, so over `prev`, the
`mac` of the line before, too. A hash without a key would be no witness against who can write the file: they would
change a line and make all that follow anew. Who has the key, and so who has taken over the server, can still do so:
copy the lines away as they come, or keep the file where the server can only append.

Each worker makes a chain of its own (`chain`, `seq`), for workers share a file and not a memory. The first line of a
chain names, as `after`, the last one that was in the file then, so a tail cut off before a restart is missed.
"""

import hmac
import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

NOTHING: Final = "0" * 32
"""What stands for the line before the first."""
TAIL: Final = 64 * 1024
"""Bytes at the end of a file in which its last line is looked for."""
_LINE: Final = re.compile(
    rb'\{(?P<body>.*),"chain":"(?P<chain>[0-9a-f]{16})","seq":(?P<seq>[0-9]{1,18})'
    rb'(?:,"after":"(?P<after>[0-9a-f]{16})/(?P<number>[0-9]{1,18})")?'
    rb',"prev":"(?P<prev>[0-9a-f]{32})","mac":"(?P<mac>[0-9a-f]{32})"\}'
)
_CLOSED: Final = re.compile(rb'"time":[^,"]*,"decision":"closed"')
_END: Final = len(f',"mac":"{NOTHING}"}}')


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """Where in which chain a line stands. `after` is the chain and number before a chain's first line."""

    chain: str
    seq: int
    prev: str
    mac: str
    after: tuple[str, int] | None = None
    closes: bool = False


class Chain:
    """Seals the lines of one writer, in their order."""

    def __init__(self, key: bytes, last: Callable[[], Link | None]) -> None:
        """`last` is the newest link that its file has."""
        self._key, self._last = key, last
        self._name = ""

    @property
    def begun(self) -> bool:
        """Whether lines were sealed that no last one has closed."""
        return bool(self._name)

    def seal(self, line: bytes) -> bytes:
        """The line (a JSON object that has members) with its link."""
        after = ""
        if not self._name:
            self._name, self._seq, self._prev = secrets.token_hex(8), 0, NOTHING
            if (last := self._last()) is not None:
                self._prev, after = last.mac, f',"after":"{last.chain}/{last.seq}"'
        text = f',"chain":"{self._name}","seq":{self._seq}{after},"prev":"{self._prev}"'
        linked = line[:-1] + text.encode()
        self._prev = mac(self._key, linked)
        self._seq += 1
        if _CLOSED.fullmatch(line, 1, len(line) - 1):
            self._name = ""
        return linked + f',"mac":"{self._prev}"}}'.encode()


def mac(key: bytes, linked: bytes) -> str:
    """128 bits of HMAC-SHA-256: what is cut off is no help to a forger (NIST SP 800-107 §5.3.3)."""
    return hmac.digest(key, linked, "sha256")[:16].hex()


def read(line: bytes) -> Link | None:
    """The link of a line as it says, true or not; None where it has none."""
    found = _LINE.fullmatch(line)
    if found is None:
        return None
    after = found["after"]
    return Link(
        chain=found["chain"].decode(),
        seq=int(found["seq"]),
        prev=found["prev"].decode(),
        mac=found["mac"].decode(),
        after=None if after is None else (after.decode(), int(found["number"])),
        closes=_CLOSED.fullmatch(found["body"]) is not None,
    )


def genuine(line: bytes, link: Link, key: bytes) -> bool:
    """Whether somebody with this key wrote the line."""
    return hmac.compare_digest(mac(key, line[:-_END]), link.mac)


def last_link(path: Path) -> Link | None:
    """The newest link in a file, or in the one that was rotated away from it."""
    for one in (path, path.with_name(f"{path.name}.1")):
        for line in reversed(_tail(one).split(b"\n")):
            if (link := read(line)) is not None:
                return link
    return None


def _tail(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL))
            return file.read()
    except OSError:  # the writer finds out what is wrong with it
        return b""
