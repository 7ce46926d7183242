"""A document as it was read, byte for byte: what another worker, or a later one, makes the same tools of."""

import zlib
from collections.abc import Mapping
from hashlib import sha256
from typing import Final

import msgspec

from mcp_server.rest.document import Source
from mcp_server.rest.document.files.reading import MAX_BYTES

MAX_FILES: Final = 500
TOO_MANY: Final = f"the document has more than {MAX_FILES} files"
AWAY: Final = "!"
"""Stands for the digest of a file that cannot be read."""
Reading = Mapping[str, str]
"""Location → the SHA-256 of what is there. Two that are equal are of the same document."""


class DocumentFiles(msgspec.Struct, frozen=True, kw_only=True):
    """All files of one document, overlays among them; `refused` says why another one was not read."""

    location: str
    files: Mapping[str, bytes]
    refused: Mapping[str, str] = msgspec.field(default_factory=dict)


def of(source: Source) -> DocumentFiles:
    """The bytes that a source was decoded from."""
    return DocumentFiles(location=source.location, files=source.raw, refused=source.refused)


def reading(source: Source) -> Reading:
    """What a look at the same files says as long as none has changed."""
    away = {location: AWAY for location, why in source.refused.items() if why != TOO_MANY}
    return {**away, **source.digests}


def packed(snapshot: DocumentFiles) -> bytes:
    """The snapshot as it is kept: a document is text that repeats itself, and a pod's /tmp is small."""
    return zlib.compress(msgspec.msgpack.encode(snapshot), 1)


def unpacked(data: bytes) -> DocumentFiles:
    """The snapshot again; raises `ValueError` for what is none, and for what is larger than a document may be."""
    unpacking = zlib.decompressobj()
    try:
        plain = unpacking.decompress(data, MAX_BYTES + 1024 * 1024)
        if not unpacking.eof:
            raise ValueError("it is cut off, or too large")
        return msgspec.msgpack.decode(plain, type=DocumentFiles)
    except (zlib.error, msgspec.MsgspecError) as error:
        raise ValueError(f"it is no snapshot: {error}") from None


def digest(data: bytes) -> str:
    """SHA-256 in hex."""
    return sha256(data).hexdigest()
