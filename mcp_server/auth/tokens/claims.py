"""Verified claims → `Principal`: scopes, Keycloak's roles, client (RFC 9068 §2.2.3, keycloak-facts §3, §6)."""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from mcp_server.identity import Kind, Principal, ScopeRules

_SCOPE_TOKEN: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")


class VerifiedClaims(msgspec.Struct, frozen=True, kw_only=True):
    """The claims of a token that passed every step; made only by `profile.check_claims`.

    `expires_at` is when the token is accepted no longer: its `exp`, and the issuer's leeway after it.
    """

    issuer: str
    kind: Kind
    subject: str
    client_id: str
    expires_at: float
    scope: frozenset[str]
    confirmation: Mapping[str, Any] | None
    raw: Mapping[str, Any]
    document: bytes
    """`raw` as JSON."""
    leeway_s: int = 0


def to_principal(claims: VerifiedClaims, rules: ScopeRules, *, client_id: str, digest: str) -> Principal:
    """The caller these claims speak of; roles are the realm's and those of our own client, as claims or not."""
    roles = _roles(claims.raw, client_id)
    return Principal(
        issuer=claims.issuer,
        kind=claims.kind,
        subject=claims.subject,
        client_id=claims.client_id,
        scopes=rules.held(claims.scope, roles),
        roles=roles,
        expires_at=claims.expires_at,
        token_digest=digest,
        document=claims.document,
        auth_time=_auth_time(claims.raw),
        acr=acr if isinstance(acr := claims.raw.get("acr"), str) else "",
        leeway_s=claims.leeway_s,
        sid=_name(claims.raw, "sid"),
        jti=_name(claims.raw, "jti"),
        issued_at=claims.raw["iat"],  # a number: `profile.check_claims` has seen to it
    )


def _name(raw: Mapping[str, Any], claim: str) -> str:
    value = raw.get(claim)
    return value if isinstance(value, str) else ""


def _auth_time(raw: Mapping[str, Any]) -> float | None:
    """When the person logged in, in seconds since the epoch; None for what is no number. `identity.stale` judges it."""
    value = raw.get("auth_time")
    try:
        return None if isinstance(value, bool) or not isinstance(value, int | float) else float(value)
    except OverflowError:  # an integer of hundreds of digits
        return None


def granted(principal: Principal) -> frozenset[str]:
    """The scopes of the token itself, without what implications and roles add."""
    return scope_of(principal.claims)


def scope_of(raw: Mapping[str, Any]) -> frozenset[str]:
    """The granted scopes: scope-tokens between spaces (RFC 6749 §3.3), absent meaning none, as any other type does.

    What is no scope-token is dropped, and never split further: U+2003 or U+001C would else part `x\u2003mcp:admin` into
    a scope that nobody granted. The rest stays, for a realm may have scopes with odd names that are none of ours.
    """
    scope = raw.get("scope")
    if not isinstance(scope, str):
        return frozenset()
    return frozenset(word for word in scope.split(" ") if _SCOPE_TOKEN.fullmatch(word))


def _roles(raw: Mapping[str, Any], client_id: str) -> frozenset[str]:
    access = raw.get("resource_access")
    of_client = access.get(client_id) if isinstance(access, dict) else None
    return _role_list(raw.get("realm_access")) | _role_list(of_client)


def _role_list(access: object) -> frozenset[str]:
    roles = access.get("roles") if isinstance(access, dict) else None
    if not isinstance(roles, list):
        return frozenset()
    return frozenset(role for role in roles if isinstance(role, str))
