"""The Authorization header → a token, nothing, or a malformed request (RFC 6750 §2.1, RFC 9449 §7.1)."""

import re
from typing import Final

import msgspec

from mcp_server.auth.refusals import Reason, Refusal

MAX_TOKEN: Final = 8 * 1024
"""Bytes. Keycloak with 200 roles makes about 5 KiB; granian and nginx cap a header line near this, too."""

_CREDENTIALS: Final = re.compile(rb"(?i:(bearer|dpop)) +([A-Za-z0-9\-._~+/]+=*)")
_QUERY_TOKEN: Final = re.compile(rb"(?:^|[&;])(?i:access_token|access%5ftoken|%61ccess_token)=")


class Credentials(msgspec.Struct, frozen=True):
    """A token as it was sent; `bound` tells the DPoP scheme from Bearer."""

    token: bytes
    bound: bool = False


class Absent(msgspec.Struct, frozen=True):
    """No credentials at all: the challenge carries no error code (RFC 6750 §3.1)."""


def read(authorization: bytes | None) -> Credentials | Absent | Refusal:
    """What the one Authorization header holds; schemes are case-insensitive, other schemes count as no token."""
    if authorization is None:
        return Absent()
    if len(authorization) > MAX_TOKEN + 16:
        return Refusal(Reason.TOKEN_TOO_LARGE, f"{len(authorization)} bytes")
    found = _CREDENTIALS.fullmatch(authorization.strip(b" \t"))
    if found is None:
        return Refusal(Reason.MALFORMED_HEADER, "not '<scheme> <token>'")
    return Credentials(found[2], bound=found[1].lower() == b"dpop")


def token_in_query(query: bytes) -> bool:
    """Whether the query string carries a token, which OAuth 2.1 forbids (RFC 9700 §4.3.2)."""
    return bool(query) and _QUERY_TOKEN.search(query) is not None
