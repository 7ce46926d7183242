"""The logout token (OpenID Connect Back-Channel Logout 1.0 §2.4, §2.6; RFC 8417): a pure rule beside `profile.py`.

Steps 1–4 and 6 are an access token's. Then: an audience of ours, times, the event, a `jti`, somebody whose sessions are
over, and no `nonce`, which only an ID token has. All that is left out or odd is refused.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from mcp_server.auth.issuer.keys import VerificationKey
from mcp_server.auth.refusals import DenialReason, refuse
from mcp_server.auth.tokens import profile
from mcp_server.auth.tokens.profile import OpenedToken, short

EVENT: Final = "http://schemas.openid.net/event/backchannel-logout"
MAX_TOKEN: Final = 8 * 1024
MAX_NAME: Final = 256
MAX_AGE_S: Final = 600
"""The text wants two minutes at the most, and a repetition is to be known again for as long as it could be taken."""


class Logout(msgspec.Struct, frozen=True, kw_only=True):
    """Whose sessions are over: one login (`sid`), or, where there is none, a person (`subject`)."""

    issuer: str
    client: str
    jti: str
    issued_at: float
    expires_at: float
    sid: str = ""
    subject: str = ""


def verify(opened: OpenedToken, key: VerificationKey, *, now: float) -> Logout:
    """What a logout token says; raises `AccessDeniedError`."""
    profile.check_signature(opened, key)
    claims, policy = opened.payload, opened.policy
    client = _client(claims, policy.logout_clients)
    issued_at, expires_at = issued(opened, now=now), profile.time_of(claims, "exp")
    if now >= expires_at + policy.leeway_s or now >= issued_at + MAX_AGE_S + policy.leeway_s:
        raise refuse(DenialReason.EXPIRED, "logout token")
    _check_kind(claims, typed=opened.rfc9068)
    found = Logout(
        issuer=policy.issuer,
        client=client,
        jti=_text(claims, "jti"),
        issued_at=issued_at,
        expires_at=min(expires_at, issued_at + MAX_AGE_S) + policy.leeway_s,
        sid=_text(claims, "sid") if "sid" in claims else "",
        subject=_text(claims, "sub") if "sub" in claims else "",
    )
    if not found.jti or not (found.sid or found.subject):
        raise refuse(DenialReason.MALFORMED_CLAIMS, "a logout token without jti, or without sid and sub")
    return found


def issued(opened: OpenedToken, *, now: float) -> float:
    """When it says that it was issued; raises `AccessDeniedError` for later than now.

    Asked before its key, too: a key that nobody knows may be newer than those that were read, if the token is; a time
    to come would have every forged one pass for one whose issuer is away.
    """
    at = profile.time_of(opened.payload, "iat")
    if at > now + opened.policy.leeway_s:
        raise refuse(DenialReason.ISSUED_IN_FUTURE, f"in {at - now:.0f} s")
    return at


def _client(claims: Mapping[str, Any], known: frozenset[str]) -> str:
    """Which client of ours it was sent to: another's logout is its own affair, and may be sent on by whoever got it."""
    audience = claims.get("aud")
    named = [audience] if isinstance(audience, str) else audience
    if not isinstance(named, list) or not all(isinstance(one, str) for one in named) or known.isdisjoint(named):
        raise refuse(DenialReason.WRONG_AUDIENCE, f"aud {short(audience)} of a logout token; MCP_LOGOUT_CLIENTS")
    return str(next(one for one in named if one in known))


def _check_kind(claims: Mapping[str, Any], *, typed: bool) -> None:
    events = claims.get("events")
    if not isinstance(events, dict) or not isinstance(events.get(EVENT), dict):
        raise refuse(DenialReason.WRONG_TYPE, f"events {short(events)}")
    if "nonce" in claims:
        raise refuse(DenialReason.WRONG_TYPE, "a nonce, which a logout token must not have")
    typ = claims.get("typ")
    if typ not in (None, "Logout"):
        raise refuse(DenialReason.WRONG_TYPE, f"claim typ {short(typ)}")


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME:
        raise refuse(DenialReason.MALFORMED_CLAIMS, f"{name} {short(value)}")
    return value
