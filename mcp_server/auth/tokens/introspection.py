"""Introspection of opaque tokens, request and answer as values (RFC 7662)."""

import json
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from mcp_server.auth import own_secret
from mcp_server.auth.policy import IssuerPolicy
from mcp_server.auth.refusals import DenialReason, refuse
from mcp_server.auth.tokens.claims import VerifiedClaims
from mcp_server.auth.tokens.profile import check_claims

CACHE_S: Final = 30
"""How long an answer is believed, in seconds: the longest time a revoked opaque token goes on working."""


class IntrospectionClient(msgspec.Struct, frozen=True):
    """Who we are to the issuer."""

    client_id: str
    secret: str

    def basic(self) -> str:
        """How we prove it."""
        return own_secret.basic(self.client_id, self.secret)


def form(token: bytes) -> dict[str, str]:
    """The body of the request."""
    return {"token": token.decode("ascii"), "token_type_hint": "access_token"}


def is_answer(found: Any) -> bool:
    """Whether it is an answer at all (RFC 7662 §2.2), and not what a proxy says in the issuer's place."""
    return isinstance(found, Mapping) and isinstance(found.get("active"), bool)


def accept(answer: Any, policy: IssuerPolicy, *, now: float) -> VerifiedClaims:
    """The claims of an active token, put through the same steps as a JWT's; raises `AccessDeniedError`.

    `iss` may be left out of an answer, which comes from the issuer itself; where it stands it must be right.
    """
    if not isinstance(answer, Mapping) or answer.get("active") is not True:
        raise refuse(DenialReason.INACTIVE)
    if answer.get("iss", policy.issuer) != policy.issuer:
        raise refuse(DenialReason.UNKNOWN_ISSUER, "introspection names another issuer")
    claims = dict(answer)
    claims.setdefault("iat", 0)
    if claims.get("typ") in ("ID", "Refresh", "Logout", "Offline"):
        raise refuse(DenialReason.NOT_AN_ACCESS_TOKEN, f"typ {claims['typ']}")
    bound = "dpop" in (str(claims.get("typ")).lower(), str(claims.get("token_type")).lower())
    claims["typ"] = "DPoP" if bound else "Bearer"
    return check_claims(claims, json.dumps(claims).encode(), policy, now=now, rfc9068=True)
