"""The proof of possession that a bound token asks for (RFC 9449 §4.3, §7)."""

import base64
import hashlib
import re
import string
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry

from mcp_server.auth.issuer.keys import VerificationKey, import_public
from mcp_server.auth.refusals import AccessDeniedError, DenialReason, refuse
from mcp_server.auth.tokens.profile import decode_part, json_object

ALGORITHMS: Final = ("ES256", "RS256", "PS256", "EdDSA")
PROOF_AGE_S: Final = 300
PROOF_AHEAD_S: Final = 60
"""For clients whose clocks are fast: RFC 9449 §11.1 has "seconds or minutes". So much longer one is remembered."""
MAX_PROOF: Final = 4096
_PORTS: Final = {"http": 80, "https": 443}
_ESCAPE: Final = re.compile("%([0-9A-Fa-f]{2})")
_UNRESERVED: Final = frozenset(string.ascii_letters + string.digits + "-._~")
_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "k", "oth"})


class UsedProof(msgspec.Struct, frozen=True):
    """A proof that is right, if it was not used before: its id, which names its key as well, and its `iat`."""

    proof_id: str
    issued_at: float


class TakenProof(msgspec.Struct, frozen=True):
    """A place in the replay cache: whose, of which proof, and the token of the claim in a store."""

    holder: str
    used: UsedProof
    claim: str = ""


class Proof(msgspec.Struct):
    """What accompanies a request: the DPoP header, the method, and the URL as clients know it, escapes and all.

    `taken` is the place that it has taken, which a request that a limit refuses gives back.
    """

    header: bytes | None
    method: str
    url: str
    taken: TakenProof | None = None


def check_binding(
    confirmation: Mapping[str, Any] | None, token: bytes, proof: Proof, *, bound_scheme: bool, now: float
) -> UsedProof | None:
    """Demand what `cnf`, the confirmation, asks for; raises `AccessDeniedError`.

    A token without `cnf` may only come as Bearer. The proof that was right is handed back: that it is the first of its
    id is for the replay cache to say.
    """
    if confirmation is None:
        if bound_scheme:
            raise refuse(DenialReason.UNBOUND_USE, "DPoP scheme, but the token is not bound")
        return None
    thumbprint = confirmation.get("jkt")
    if not isinstance(thumbprint, str):
        raise refuse(DenialReason.UNSUPPORTED_BINDING, "cnf without jkt")
    if not bound_scheme:
        raise refuse(DenialReason.UNBOUND_USE, "a DPoP-bound token sent as Bearer")
    try:
        return _check_proof(proof, thumbprint, token, now)
    except AccessDeniedError as refused:
        raise refuse(DenialReason.BAD_PROOF, refused.refusal.detail) from refused


def _check_proof(proof: Proof, thumbprint: str, token: bytes, now: float) -> UsedProof:
    if proof.header is None or len(proof.header) > MAX_PROOF or proof.header.count(b".") != 2:
        raise refuse(DenialReason.BAD_PROOF, "no single DPoP proof")
    header_part, payload_part, signature_part = proof.header.split(b".")
    key, algorithm = _proof_key(json_object(decode_part(header_part)))
    if key.thumbprint() != thumbprint:
        raise refuse(DenialReason.BAD_PROOF, "the proof's key is not the token's")
    signing_input = header_part + b"." + payload_part
    try:
        model = JWSRegistry.algorithms[algorithm]
        model.check_key(key)
        good = model.verify(signing_input, decode_part(signature_part), key)
    except (JoseError, ValueError) as error:
        raise refuse(DenialReason.BAD_PROOF, type(error).__name__) from error
    if not good:
        raise refuse(DenialReason.BAD_PROOF, "signature")
    proof_id, issued_at = _check_payload(json_object(decode_part(payload_part)), proof, token, now)
    return UsedProof(f"{thumbprint}:{proof_id}", issued_at)


def _proof_key(header: Mapping[str, Any]) -> tuple[VerificationKey, str]:
    algorithm, public = header.get("alg"), header.get("jwk")
    if header.get("typ") != "dpop+jwt" or "crit" in header:
        raise refuse(DenialReason.BAD_PROOF, "typ")
    if algorithm not in ALGORITHMS:
        raise refuse(DenialReason.BAD_PROOF, "alg")
    if not isinstance(public, dict) or not _PRIVATE.isdisjoint(public):
        raise refuse(DenialReason.BAD_PROOF, "jwk")
    if public.get("use", "sig") != "sig" or public.get("alg", algorithm) != algorithm:
        raise refuse(DenialReason.BAD_PROOF, "jwk: use or alg")
    try:
        key = import_public(public)
        key.validate_dict_key(public)  # its other members have the types that RFC 7517 gives them
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise refuse(DenialReason.BAD_PROOF, "jwk") from error
    return key, algorithm


def _check_payload(claims: Mapping[str, Any], proof: Proof, token: bytes, now: float) -> tuple[str, float]:
    hashed = base64.urlsafe_b64encode(hashlib.sha256(token).digest()).rstrip(b"=").decode()
    issued_at, proof_id = claims.get("iat"), claims.get("jti")
    if claims.get("htm") != proof.method or not _same_url(claims.get("htu"), proof.url):
        raise refuse(DenialReason.BAD_PROOF, "htm or htu")
    if isinstance(issued_at, bool) or not isinstance(issued_at, int | float):
        raise refuse(DenialReason.BAD_PROOF, "iat")
    if (
        not now - PROOF_AGE_S <= issued_at <= now + PROOF_AHEAD_S
    ):  # compared, for a difference may be no float (10**400)
        raise refuse(DenialReason.BAD_PROOF, "too old, or of the future")
    if claims.get("ath") != hashed:
        raise refuse(DenialReason.BAD_PROOF, "ath")
    if not isinstance(proof_id, str) or not 0 < len(proof_id) <= 256:
        raise refuse(DenialReason.BAD_PROOF, "jti")
    return proof_id, issued_at


def _same_url(stated: object, actual: str) -> bool:
    """Whether `htu` is this URL, without query and fragment (RFC 9449 §4.3 step 9)."""
    if not isinstance(stated, str):
        return False
    try:
        return _normal(stated) == _normal(actual)
    except ValueError:
        return False


def _normal(url: str) -> tuple[str, str, int | None, str]:
    """The normalization of RFC 9449 §4.3, so that no right proof fails for its spelling; raises `ValueError`.

    Scheme and host in any case, escapes in any case and needless ones undone (RFC 3986 §6.2.2), the scheme's own port
    and the empty path (RFC 3986 §6.2.3). What an escape hides is never undone: `/a%2Fb` is not `/a/b`.
    """
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    port = None if parts.port == _PORTS.get(scheme) else parts.port
    host = parts.netloc.lower().rpartition(":")[0] if parts.port is not None else parts.netloc.lower().rstrip(":")
    return scheme, host, port, _ESCAPE.sub(_unescaped, parts.path) or "/"


def _unescaped(escape: re.Match[str]) -> str:
    character = chr(int(escape[1], 16))
    return character if character in _UNRESERVED else escape[0].upper()
