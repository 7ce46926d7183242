"""What Keycloak pushes to a client's admin URL: a new not-before, or that everybody is logged out. A pure rule.

Keycloak 26.7.4 posts a JWS to `k_push_not_before` and `k_logout` below that URL (seen). It has no `iss`, `aud` or
`iat`: the realm's key says whose it is, `resource` which client it was sent to, and it has these five members alone.
So no other token of the realm can be taken for one: each of those has an `iss`.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from mcp_server.auth.issuer.keys import VerificationKey
from mcp_server.auth.refusals import DenialReason, refuse
from mcp_server.auth.tokens import profile
from mcp_server.auth.tokens.profile import OpenedToken, short

ACTIONS: Final = ("PUSH_NOT_BEFORE", "LOGOUT")
_MEMBERS: Final = frozenset({"id", "expiration", "resource", "action", "notBefore"})
MAX_LIFE_S: Final = 600
MAX_ID: Final = 256
JUST: Final = 0.001


class NotBeforePush(msgspec.Struct, frozen=True, kw_only=True):
    """A pushed not-before: tokens that were issued up to `before` are over, a client's, or all where it is our own."""

    client: str
    action: str
    action_id: str
    before: float
    expires_at: float


def verify(opened: OpenedToken, key: VerificationKey, action: str, *, now: float) -> NotBeforePush:
    """What was pushed to the address of an action; raises `AccessDeniedError`."""
    profile.check_signature(opened, key)
    claims, policy = opened.payload, opened.policy
    if claims.keys() != _MEMBERS or claims["action"] != action:
        raise refuse(DenialReason.WRONG_TYPE, f"no {action} of Keycloak's")
    client, action_id = claims["resource"], claims["id"]
    if client not in policy.logout_clients:
        raise refuse(DenialReason.WRONG_AUDIENCE, f"resource {short(client)}; MCP_LOGOUT_CLIENTS")
    if not isinstance(action_id, str) or not 0 < len(action_id) <= MAX_ID:
        raise refuse(DenialReason.MALFORMED_CLAIMS, f"id {short(action_id)}")
    expires_at = profile.time_of(claims, "expiration")
    if not now - policy.leeway_s < expires_at < now + MAX_LIFE_S:
        raise refuse(DenialReason.EXPIRED, "a push")
    return NotBeforePush(
        client=client,
        action=action,
        action_id=action_id,
        before=_before(claims, action, now + policy.leeway_s),
        expires_at=expires_at + policy.leeway_s,
    )


def _before(claims: Mapping[str, Any], action: str, latest: float) -> float:
    """Keycloak takes a token issued in the very second of its not-before; everybody was logged out in that of a logout.

    One in the future would refuse tokens that are still to come.
    """
    not_before = profile.time_of(claims, "notBefore")
    if not_before > latest:
        raise refuse(DenialReason.NOT_YET_VALID, f"notBefore {short(claims['notBefore'])}")
    return not_before if action == "LOGOUT" else not_before - JUST
