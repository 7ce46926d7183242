"""Bodies unpacked piece by piece: whole ones as they were, cut ones never, bombs to a bound."""

import gzip
import random
import zlib

import pytest

from mcp_server.rest.wire.transport import codings
from mcp_server.rest.wire.transport.codings import CutShort, NotAskedFor, Unreadable, unpacker

TEXT = bytes(range(256)) * 40
RAW = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
FORMS = {
    "gzip": gzip.compress(TEXT),
    "x-gzip": gzip.compress(TEXT[:99]) + gzip.compress(TEXT[99:]),
    "deflate": zlib.compress(TEXT),
    " Deflate": RAW.compress(TEXT) + RAW.flush(),
}


def unpacked(coding: str, *pieces: bytes, room: int = 10**9) -> bytes:
    made, found = unpacker(coding), b""
    assert made is not None
    for piece in pieces:
        found += made.feed(piece, room - len(found))
    made.finish()
    return found


@pytest.mark.parametrize("coding", FORMS)
def test_a_body_in_any_pieces_is_what_it_was_and_no_part_of_it_is_one(coding: str) -> None:
    body, chance = FORMS[coding], random.Random(6)
    assert unpacked(coding, *(bytes([one]) for one in body)) == TEXT
    for _ in range(200):
        cut = chance.randrange(1, len(body))
        if coding == "x-gzip" and cut == len(gzip.compress(TEXT[:99])):
            continue  # the first of two, which is whole
        assert unpacked(coding, body[:cut], body[cut:]) == TEXT
        with pytest.raises((CutShort, Unreadable)):
            unpacked(coding, body[:cut])


@pytest.mark.parametrize("coding", FORMS)
def test_no_more_comes_than_there_is_room_for(coding: str) -> None:
    made = unpacker(coding)
    assert made is not None
    assert made.feed(FORMS[coding], 100) == TEXT[:100]


def test_padding_behind_the_end_is_passed_over() -> None:
    assert unpacked("gzip", FORMS["gzip"] + b"\0" * 512, b"\n") == TEXT
    assert unpacked("deflate", FORMS["deflate"] + b"\x1fx") == TEXT


def test_what_is_not_packed_and_what_nobody_asked_for() -> None:
    assert unpacker("") is unpacker("identity") is None
    for odd in ("br", "zstd", "gzip, gzip", "compress", "\xe9"):
        with pytest.raises(NotAskedFor):
            unpacker(odd)
    assert unpacked("gzip") == b""
    for coding in ("gzip", "deflate"):
        with pytest.raises(Unreadable):
            unpacked(coding, b"\xff" * 50)


def test_members_without_end_are_refused() -> None:
    with pytest.raises(Unreadable):
        unpacked("gzip", gzip.compress(b"") * (codings.MAX_MEMBERS + 1))
