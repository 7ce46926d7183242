"""Chunked transfer coding (RFC 9112 §7.1) as it is read: bounded in chunks, and not in bytes alone.

Each chunk is work for the parser and a piece of its own: a megabyte in chunks of one byte held a worker's loop for two
seconds, and no API frames an answer so. Many give a chunk to each row of a table, which may be as short as twenty.
"""

from typing import Final

import aiohttp
from aiohttp.http import HttpProcessingError

FREE_CHUNKS: Final = 10_000
"""So many may be of any size: an API may send events of a few bytes each."""
LEAST: Final = 16
"""Bytes that a chunk has on average, of more than those."""


class Framing:
    """How one body comes."""

    __slots__ = ("_bytes", "_chunks")

    def __init__(self) -> None:
        self._chunks = self._bytes = 0

    async def next(self, content: aiohttp.StreamReader) -> bytes:
        """The next piece, empty at the end; raises `HttpProcessingError` where there are too many of too little."""
        while True:
            piece, ends_chunk = await content.readchunk()
            self._bytes += len(piece)
            if ends_chunk:
                self._chunks += 1
                if self._chunks > FREE_CHUNKS and self._chunks * LEAST > self._bytes:
                    raise HttpProcessingError(message=f"more than {self._chunks - 1} chunks of a few bytes each")
            if piece or not ends_chunk or content.at_eof():  # an end of a chunk alone is no end of the body
                return piece
