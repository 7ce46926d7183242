"""Content codings (RFC 9110 §8.4.1): gzip and deflate unpacked piece by piece, to a bound and to their very end.

Our own loop over zlib, for HTTP libraries take a gzip that stops half way for a whole one: its length in bytes is
right, so nobody but the unpacker can tell.
"""

import zlib
from typing import Any, Final

PLAIN: Final = frozenset({"", "identity"})
GZIP: Final = frozenset({"gzip", "x-gzip"})
ASKED_FOR: Final = "gzip, deflate"
MAX_MEMBERS: Final = 1_000
"""A gzip may be many, one after the other (RFC 1952 §2.2); of empty ones there could be one for every twenty bytes."""


class Refused(Exception):
    """A body that cannot be unpacked; its text is for the model."""

    text = ""


class NotAskedFor(Refused):
    """It is packed in a way that no request of ours accepts."""

    text = "the API's answer is compressed in a way that was not asked for"


class Unreadable(Refused):
    """It is not what its coding says."""

    text = "the API's answer cannot be decompressed"


class CutShort(Refused):
    """It ended before what is packed in it did."""

    text = "the API's answer was cut: its compressed body ends half way"


class Unpacker:
    """Unpacks one body."""

    def __init__(self, coding: str) -> None:
        self._gzip = coding in GZIP
        self._stream: Any = None
        self._ended = False
        self._members = 0

    def feed(self, data: bytes, room: int) -> bytes:
        """What is in these bytes, at most `room` of it: the rest is lost. Raises `Unreadable`."""
        found = bytearray()
        while data and len(found) < room:
            if self._stream is None or self._ended:
                if self._ended and not (self._gzip and data[:1] == b"\x1f"):
                    break  # padding behind the end, which other readers pass over, too
                self._begin(data)
            try:
                found += self._stream.decompress(data, room - len(found))
            except zlib.error:
                raise Unreadable from None
            self._ended = self._stream.eof
            data = self._stream.unused_data if self._ended else self._stream.unconsumed_tail
        return bytes(found)

    def finish(self) -> None:
        """The body has ended; raises `CutShort` where something is lacking. None at all is whole (HEAD, 304)."""
        if self._stream is not None and not self._ended:
            raise CutShort

    def _begin(self, data: bytes) -> None:
        self._members += 1
        if self._members > MAX_MEMBERS:
            raise Unreadable
        # "deflate" is zlib's format, and of some servers the bare stream (RFC 9110 §8.4.1.2).
        bits = 31 if self._gzip else zlib.MAX_WBITS if data[0] & 0x0F == 8 else -zlib.MAX_WBITS
        self._stream, self._ended = zlib.decompressobj(bits), False


def unpacker(coding: str) -> Unpacker | None:
    """What unpacks a body of this Content-Encoding, None for one that is not packed; raises `NotAskedFor`."""
    coding = coding.strip().lower()
    if coding in PLAIN:
        return None
    if coding not in GZIP and coding != "deflate":
        raise NotAskedFor
    return Unpacker(coding)
