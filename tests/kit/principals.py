"""Callers made by hand."""

from collections.abc import Iterable

import msgspec

from mcp_server.auth.issuer.keys import KeyUse
from mcp_server.auth.tokens.cache import CachedToken
from mcp_server.identity import Principal


def principal(
    issuer: str = "https://issuer", scopes: Iterable[str] = ("mcp:read",), subject: str = "user"
) -> Principal:
    return Principal(
        issuer=issuer,
        subject=subject,
        client_id="client",
        scopes=frozenset(scopes),
        roles=frozenset(),
        expires_at=1000.0,
        token_digest="d" * 16,
    )


def verified(
    issuer: str = "https://issuer",
    until: float = 1000.0,
    use: KeyUse | None = ("k", "RS256", "print"),
    document: bytes = b"{}",
    trusted_until: float = float("inf"),
) -> CachedToken:
    caller = msgspec.structs.replace(principal(issuer), document=document, expires_at=until)
    return CachedToken(principal=caller, confirmation=None, key_use=use, trusted_until=trusted_until)
