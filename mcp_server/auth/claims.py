"""Verified claims → `Principal`: scopes, Keycloak's roles, client (RFC 9068 §2.2.3, keycloak-facts §3, §6)."""

from collections.abc import Mapping
from typing import Any

import msgspec

from mcp_server.identity import Principal, ScopeRules


class VerifiedClaims(msgspec.Struct, frozen=True, kw_only=True):
    """The claims of a token that passed every step; made only by `token.verify` and `introspection.accept`."""

    issuer: str
    subject: str
    client_id: str
    expires_at: float
    issued_at: float
    scope: frozenset[str]
    confirmation: Mapping[str, Any] | None
    raw: Mapping[str, Any]
    document: bytes
    """`raw` as JSON."""


def to_principal(claims: VerifiedClaims, rules: ScopeRules, *, own_client: str, digest: str) -> Principal:
    """The caller these claims speak of; roles are the realm's and those of our own client, as claims or not."""
    roles = _roles(claims.raw, own_client)
    username = claims.raw.get("preferred_username")
    return Principal(
        issuer=claims.issuer,
        subject=claims.subject,
        client_id=claims.client_id,
        scopes=rules.held(claims.scope, roles),
        roles=roles,
        expires_at=claims.expires_at,
        token_digest=digest,
        username=username if isinstance(username, str) else None,
        document=claims.document,
    )


def scope_of(raw: Mapping[str, Any]) -> frozenset[str]:
    """The granted scopes: a space-separated string, absent meaning none; any other type means none as well."""
    scope = raw.get("scope")
    return frozenset(scope.split()) if isinstance(scope, str) else frozenset()


def _roles(raw: Mapping[str, Any], own_client: str) -> frozenset[str]:
    access = raw.get("resource_access")
    of_client = access.get(own_client) if isinstance(access, dict) else None
    return _role_list(raw.get("realm_access")) | _role_list(of_client)


def _role_list(access: object) -> frozenset[str]:
    roles = access.get("roles") if isinstance(access, dict) else None
    if not isinstance(roles, list):
        return frozenset()
    return frozenset(role for role in roles if isinstance(role, str))
