"""The strict access-token profile, in numbered steps (RFC 9068 §4, RFC 8725 §3, Keycloak's tokens as seen).

1. size and shape: three Base64url parts, bounded in bytes, JSON objects without duplicate members
2. header: no `jku x5u jwk x5c x5t crit b64 zip enc`, a `kid`, `typ` at+jwt or JWT
3. issuer: `iss` is one we trust, compared exactly
4. algorithm: on that issuer's list
5. key: of that issuer, bound to the algorithm
6. signature
7. audience: `aud` holds one of ours
8. times: `exp` and `iat` numbers, `nbf` honoured, leeway at most 120 s
9. kind: an access token, not an ID, refresh or logout token; of whom: `sub`, and a person or a client that is listed
10. binding: `cnf` is carried on, for `dpop.py` to demand its proof

`open_token` does 1–4, which need no key; `verify` does 6–10. Step 5 is `keys.look_up`.
"""

import base64
import binascii
import functools
import json
import math
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry

from mcp_server.auth.issuer.keys import VerificationKey
from mcp_server.auth.persons import client_only_reason
from mcp_server.auth.policy import IssuerPolicy
from mcp_server.auth.refusals import AccessDenied, AccessDeniedError, DenialReason, refuse
from mcp_server.auth.tokens.bearer import MAX_TOKEN
from mcp_server.auth.tokens.claims import VerifiedClaims, scope_of
from mcp_server.identity import Kind

MAX_KID: Final = 256
MAX_DEPTH: Final = 32
"""Arrays and objects in one another; Keycloak's `resource_access` has three."""
_BASE64URL: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_FOLLOWED_BY_NOBODY: Final = frozenset(
    {"jku", "x5u", "jwk", "x5c", "x5t", "x5t#S256", "crit", "b64", "zip", "enc", "epk"}
)
_HEADER_TYPES: Final = {"at+jwt": True, "application/at+jwt": True, "jwt": False}
"""Header `typ` → whether it alone says "access token" (RFC 9068); Keycloak's JWT needs the claim `typ` as well."""
_LOGOUT_TYPES: Final = {"logout+jwt": True, "application/logout+jwt": True, "jwt": False}
"""The same for a logout token, which need not say what it is but by its `events` (Back-Channel Logout 1.0 §2.4)."""
_BOUND_TYPE: Final = "DPoP"
_PAYLOAD_TYPES: Final = frozenset({"Bearer", _BOUND_TYPE})
_ONLY_IN_ID_TOKENS: Final = frozenset({"nonce", "at_hash", "c_hash"})
_LATEST_TIME: Final = 2**53


class OpenedToken(msgspec.Struct, frozen=True, kw_only=True):
    """A token whose shape, header and issuer are acceptable; nothing in it is proved yet."""

    algorithm: str
    kid: str
    rfc9068: bool
    signing_input: bytes
    signature: bytes
    payload: Mapping[str, Any]
    document: bytes
    """`payload` as JSON."""
    policy: IssuerPolicy


class _Header(msgspec.Struct, frozen=True):
    algorithm: str | None
    kid: str
    rfc9068: bool


def is_jwt_shaped(token: bytes) -> bool:
    """Whether a token claims to be a JWT; anything else is opaque and may be introspected."""
    return token.count(b".") == 2 and token.startswith(b"eyJ")


def open_token(
    token: bytes, policies: Mapping[str, IssuerPolicy], max_bytes: int = MAX_TOKEN, *, logout: bool = False
) -> OpenedToken:
    """Steps 1–4; raises `AccessDeniedError`. With `logout` it is a logout token, which has another `typ`."""
    if len(token) > max_bytes:  # (1)
        raise refuse(DenialReason.TOKEN_TOO_LARGE, f"{len(token)} bytes")
    signing_input, header_part, document, signature = _split(token)
    payload = json_object(document)
    header = _read_header(header_part, logout=logout)  # (2)
    issuer = payload.get("iss")  # (3)
    policy = policies.get(issuer) if isinstance(issuer, str) else None
    if policy is None:
        raise refuse(DenialReason.UNKNOWN_ISSUER, f"iss {short(issuer)}, expected {' or '.join(policies)}")
    return _opened(header, payload, (signing_input, document, signature), policy)


def _opened(
    header: _Header, payload: Mapping[str, Any], parts: tuple[bytes, bytes, bytes], policy: IssuerPolicy
) -> OpenedToken:
    signing_input, document, signature = parts
    algorithm = header.algorithm  # (4)
    if algorithm is None or algorithm not in policy.algorithms:
        raise refuse(DenialReason.WRONG_ALGORITHM, f"alg {short(algorithm)}")
    return OpenedToken(
        algorithm=algorithm,
        kid=header.kid,
        rfc9068=header.rfc9068,
        signing_input=signing_input,
        signature=signature,
        payload=payload,
        document=document,
        policy=policy,
    )


def open_unnamed(token: bytes, policy: IssuerPolicy, max_bytes: int = MAX_TOKEN) -> OpenedToken:
    """Steps 1, 2 and 4 of a token that does not say who issued it; raises `AccessDeniedError`."""
    if len(token) > max_bytes:
        raise refuse(DenialReason.TOKEN_TOO_LARGE, f"{len(token)} bytes")
    signing_input, header_part, document, signature = _split(token)
    return _opened(_read_header(header_part), json_object(document), (signing_input, document, signature), policy)


def verify(opened: OpenedToken, key: VerificationKey, *, now: float) -> VerifiedClaims:
    """Steps 6–10; raises `AccessDeniedError`. `now` is in seconds since the epoch."""
    check_signature(opened, key)  # (6)
    return check_claims(opened.payload, opened.document, opened.policy, now=now, rfc9068=opened.rfc9068)


def check_claims(
    claims: Mapping[str, Any], document: bytes, policy: IssuerPolicy, *, now: float, rfc9068: bool
) -> VerifiedClaims:
    """Steps 7–10 on claims whose origin is proved, by a signature or by introspection; raises `AccessDeniedError`.

    `document` is the same as JSON.
    """
    _check_audience(claims, policy)  # (7)
    expires_at = _check_times(claims, policy, now)  # (8)
    _check_type(claims, rfc9068=rfc9068)  # (9)
    subject, client_id = _named(claims)
    return VerifiedClaims(
        issuer=policy.issuer,
        kind=_kind(claims, client_id, policy),
        subject=subject,
        client_id=client_id,
        expires_at=expires_at,
        scope=scope_of(claims),
        confirmation=_confirmation(claims),  # (10)
        raw=claims,
        document=document,
        leeway_s=policy.leeway_s,
    )


def _split(token: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """What was signed, the header's part, the payload's JSON, and the signature."""
    parts = token.split(b".")
    if len(parts) != 3:
        raise refuse(DenialReason.NOT_A_TOKEN, f"it has {len(parts) - 1} dots, a JWT has 2")
    header, payload, signature = parts
    signing_input = token[: len(header) + 1 + len(payload)]
    return signing_input, header, decode_part(payload), decode_part(signature)


def decode_part(part: bytes) -> bytes:
    """Canonical Base64url without padding (RFC 7515 §2): one token has one spelling; raises `AccessDeniedError`."""
    if not part or part.translate(None, _BASE64URL):
        raise refuse(DenialReason.NOT_A_TOKEN, "not Base64url")
    try:
        decoded = base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4))
    except binascii.Error as error:
        raise refuse(DenialReason.NOT_A_TOKEN, "not Base64url") from error
    last = len(part) % 4  # four characters are three bytes, one to one: only in what is left over can bits be spare
    if last and base64.urlsafe_b64encode(decoded[1 - last :]).rstrip(b"=") != part[-last:]:
        raise refuse(DenialReason.NOT_A_TOKEN, "not canonical Base64url")
    return decoded


def json_object(document: bytes) -> dict[str, Any]:
    """A JSON object that every reader after this one reads alike; raises `AccessDeniedError`.

    Without duplicate members, NaN, numbers beyond a double, lone surrogates (which no UTF-8 can say again, neither in
    the audit nor in a key: RFC 8259 §8.2) and nesting over `MAX_DEPTH`.
    """
    try:
        text = document.decode("utf-8")
        value = _decode_json(text)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise refuse(DenialReason.NOT_A_TOKEN, "not JSON") from error
    if not isinstance(value, dict):
        raise refuse(DenialReason.NOT_A_TOKEN, "not a JSON object")
    if document.count(b"[") + document.count(b"{") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise refuse(DenialReason.NOT_A_TOKEN, "nested too deeply")
    return value


def _depth(value: object) -> int:
    """How many arrays and objects stand in one another at the most."""
    depth, level = 0, [value]
    while level := [one for one in level if isinstance(one, dict | list)]:
        depth += 1
        level = [inner for one in level for inner in (one.values() if isinstance(one, dict) else one)]
    return depth


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("duplicate member")
    return members


def _no_constant(name: str) -> float:
    raise ValueError(name)


def _double(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError("a number beyond a double")
    return value


def _integer(text: str) -> int:
    _double(text)
    return int(text)


_decode_json = json.JSONDecoder(
    object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_double, parse_int=_integer
).decode


@functools.lru_cache(maxsize=64)
def _read_header(part: bytes, *, logout: bool = False) -> _Header:
    """Step 2; an issuer writes the same header into every token of a key."""
    header = json_object(decode_part(part))
    followed = _FOLLOWED_BY_NOBODY.intersection(header)
    if followed:
        raise refuse(DenialReason.FORBIDDEN_HEADER, ", ".join(sorted(followed)))
    typ = header.get("typ")
    known = _LOGOUT_TYPES if logout else _HEADER_TYPES
    rfc9068 = known.get(typ.lower()) if isinstance(typ, str) else None
    if rfc9068 is None:
        raise refuse(DenialReason.WRONG_TYPE, f"header typ {short(typ)}")
    kid = header.get("kid")
    if not isinstance(kid, str) or not 0 < len(kid) <= MAX_KID:
        raise refuse(DenialReason.UNKNOWN_KEY, f"kid {short(kid)}")
    algorithm = header.get("alg")
    return _Header(algorithm if isinstance(algorithm, str) else None, kid, rfc9068)


def check_signature(opened: OpenedToken, key: VerificationKey) -> None:
    """Step 6; raises `AccessDeniedError`."""
    model = JWSRegistry.algorithms[opened.algorithm]
    try:
        model.check_key(key)
        good = model.verify(opened.signing_input, opened.signature, key)
    except (JoseError, ValueError) as error:
        raise refuse(DenialReason.BAD_SIGNATURE, type(error).__name__) from error
    if not good:
        raise refuse(DenialReason.BAD_SIGNATURE, f"kid {opened.kid}")


def _check_audience(claims: Mapping[str, Any], policy: IssuerPolicy) -> None:
    audience = claims.get("aud")
    named = [audience] if isinstance(audience, str) else audience
    texts = named if isinstance(named, list) and all(isinstance(one, str) for one in named) else ()
    if policy.audiences.isdisjoint(texts):
        raise refuse(
            DenialReason.WRONG_AUDIENCE, f"aud {short(audience)}, expected {' or '.join(sorted(policy.audiences))}"
        )


def _check_times(claims: Mapping[str, Any], policy: IssuerPolicy, now: float) -> float:
    """Until when the token is accepted.

    The leeway is in it: were it added here alone, the cache, streams and stdio would end a token that a new request
    still gets in with.
    """
    expires_at = time_of(claims, "exp") + policy.leeway_s
    issued_at = time_of(claims, "iat")
    if now >= expires_at:
        raise refuse(DenialReason.EXPIRED, f"{now - expires_at + policy.leeway_s:.0f} s ago")
    if issued_at > now + policy.leeway_s:
        raise refuse(DenialReason.ISSUED_IN_FUTURE, f"in {issued_at - now:.0f} s")
    if "nbf" in claims and time_of(claims, "nbf") > now + policy.leeway_s:
        raise refuse(DenialReason.NOT_YET_VALID, f"nbf {short(claims['nbf'])}")
    return expires_at


def time_of(claims: Mapping[str, Any], name: str) -> float:
    """A claim in seconds since the epoch; raises `AccessDeniedError`."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise refuse(DenialReason.MALFORMED_CLAIMS, f"{name} {short(value)}")
    if not 0 <= value <= _LATEST_TIME:
        raise refuse(DenialReason.MALFORMED_CLAIMS, f"{name} out of range")
    return float(value)


def _check_type(claims: Mapping[str, Any], *, rfc9068: bool) -> None:
    typ = claims.get("typ")
    stated = isinstance(typ, str) and typ in _PAYLOAD_TYPES
    if not stated and not (rfc9068 and typ is None):
        raise refuse(DenialReason.NOT_AN_ACCESS_TOKEN, f"claim typ {short(typ)}")
    foreign = _ONLY_IN_ID_TOKENS.intersection(claims) or {"events"}.intersection(claims)
    if foreign:
        raise refuse(DenialReason.NOT_AN_ACCESS_TOKEN, f"claim {min(foreign)}")


def _named(claims: Mapping[str, Any]) -> tuple[str, str]:
    """Subject and client. RFC 9068 §2.2 requires `sub`: without it all users of a client would be one caller."""
    client_id = _text(claims, "client_id") or _text(claims, "azp") or ""
    subject = _text(claims, "sub")
    if subject is None:
        raise refuse(DenialReason.NO_SUBJECT, f"no sub, of client {short(client_id)}")
    return subject, client_id


def _kind(claims: Mapping[str, Any], client_id: str, policy: IssuerPolicy) -> Kind:
    """Whether a person or a client calls; a client only where it is listed."""
    why = client_only_reason(claims, client_id, policy.persons)
    if why is None:
        return "user"
    if client_id not in policy.service_clients:
        detail = f"{why}; client {short(client_id)} is not in MCP_SERVICE_CLIENTS"
        raise AccessDeniedError(AccessDenied(reason=DenialReason.NO_PERSON, detail=detail, client=client_id))
    return "client"


def _text(claims: Mapping[str, Any], name: str) -> str | None:
    value = claims.get(name)
    if value is not None and (not isinstance(value, str) or not value):
        raise refuse(DenialReason.MALFORMED_CLAIMS, f"{name} {short(value)}")
    return value


def _confirmation(claims: Mapping[str, Any]) -> Mapping[str, Any] | None:
    if "cnf" not in claims:
        if claims.get("typ") == _BOUND_TYPE:  # says that it is bound, and not to what
            raise refuse(DenialReason.UNSUPPORTED_BINDING, "typ DPoP without cnf")
        return None
    confirmation = claims["cnf"]
    if not isinstance(confirmation, dict):
        raise refuse(DenialReason.UNSUPPORTED_BINDING, "cnf is not an object")
    return confirmation


def short(value: object) -> str:
    """A foreign value for the log: quoted, and cut to 80 characters."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
