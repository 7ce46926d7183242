"""The Authorization header → a token, nothing, or a malformed request (RFC 6750 §2.1, RFC 9449 §7.1)."""

import re
from typing import Final

import msgspec

from mcp_server.auth.refusals import AccessDenied, DenialReason

MAX_TOKEN: Final = 16 * 1024
"""Bytes, by default. Keycloak with 200 roles makes about 5 KiB; `devstack/nginx` takes header lines of 32 KiB."""

SCHEME: Final = 16
"""Bytes for the scheme and the blanks around it."""

_CREDENTIALS: Final = re.compile(rb"(?i:(bearer|dpop)) +([A-Za-z0-9\-._~+/]+=*)")
_OTHER_SCHEME: Final = re.compile(rb"(?!(?i:bearer|dpop)\b)[A-Za-z][A-Za-z0-9-]{0,31}(?: .*)?", re.DOTALL)
_QUERY_TOKEN: Final = re.compile(rb"(?:^|[&;])(?i:access_token|access%5ftoken|%61ccess_token)=")


class Credentials(msgspec.Struct, frozen=True):
    """A token as it was sent; `bound` tells the DPoP scheme from Bearer."""

    token: bytes
    bound: bool = False


class NoCredentials(msgspec.Struct, frozen=True):
    """No credentials at all: the challenge carries no error code (RFC 6750 §3.1)."""


def read(authorization: bytes | None, max_token: int = MAX_TOKEN) -> Credentials | NoCredentials | AccessDenied:
    """What the one Authorization header holds; schemes are case-insensitive.

    Another scheme (Basic, Negotiate) is answered like no credentials, for the challenge says which one to use (RFC 9110
    §11.6.1); it is not served as a call of nobody's.
    """
    if authorization is None:
        return NoCredentials()
    if len(authorization) > max_token + SCHEME:
        return AccessDenied(reason=DenialReason.TOKEN_TOO_LARGE, detail=f"{len(authorization)} bytes")
    stripped = authorization.strip(b" \t")
    found = _CREDENTIALS.fullmatch(stripped)
    if found is None and _OTHER_SCHEME.fullmatch(stripped):
        return AccessDenied(reason=DenialReason.UNKNOWN_SCHEME, detail="neither Bearer nor DPoP")
    if found is None:
        return AccessDenied(reason=DenialReason.MALFORMED_HEADER, detail="not '<scheme> <token>'")
    return Credentials(found[2], bound=found[1].lower() == b"dpop")


def token_in_query(query: bytes) -> bool:
    """Whether the query string carries a token, which OAuth 2.1 forbids (RFC 9700 §4.3.2)."""
    return bool(query) and _QUERY_TOKEN.search(query) is not None
