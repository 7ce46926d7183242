"""URI normalisation: which texts are one address (RFC 3986 §6.2.2)."""

import re
from typing import Final
from urllib.parse import unquote

_ESCAPES: Final = re.compile(r"%[0-9A-Fa-f]{2}")
_ENDS: Final = re.compile(r"[/?#]")
_UNRESERVED: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def normalized(uri: str) -> str:
    """The URI with its scheme and host in small letters, and nothing escaped that need not be."""
    uri = _ESCAPES.sub(_escape, uri)
    scheme, colon, rest = uri.partition(":")
    if not rest.startswith("//"):
        return scheme.lower() + colon + rest
    end = _ENDS.search(rest, 2)
    authority = rest[2 : end.start() if end else len(rest)]
    user, at, host = authority.rpartition("@")
    return f"{scheme.lower()}://{user}{at}{host.lower()}{rest[2 + len(authority) :]}"


def _escape(found: re.Match[str]) -> str:
    """One escaped octet; of those beyond ASCII each stays as it is, in capitals."""
    character = unquote(found[0], "latin-1")
    return character if character in _UNRESERVED else found[0].upper()
