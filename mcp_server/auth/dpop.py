"""The proof of possession that a bound token asks for (RFC 9449 §4.3, §7)."""

import base64
import hashlib
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry

from mcp_server.auth.keys import VerificationKey, import_public
from mcp_server.auth.policy import ALLOWED_ALGORITHMS
from mcp_server.auth.refusals import Reason, Refused, refuse
from mcp_server.auth.token import decode_part, json_object

ALGORITHMS: Final = ("ES256", "RS256", "PS256", "EdDSA")
PROOF_AGE_S: Final = 300
MAX_PROOF: Final = 4096
MAX_REMEMBERED: Final = 50_000
_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "k", "oth"})


class Proof(msgspec.Struct, frozen=True):
    """What accompanies a request: the DPoP header, the method, and the URL as clients know it."""

    header: bytes | None
    method: str
    url: str


class Replays:
    """Proof ids seen within their age; past `MAX_REMEMBERED` the oldest are forgotten first.

    Each worker remembers for itself: a proof replayed to another worker is bounded by `PROOF_AGE_S` alone.
    """

    def __init__(self) -> None:
        self._seen: dict[str, float] = {}

    def first_time(self, proof_id: str, now: float) -> bool:
        """Whether this id is new; it is not any more afterwards."""
        if self._seen.get(proof_id, 0.0) > now:
            return False
        while len(self._seen) >= MAX_REMEMBERED:
            del self._seen[next(iter(self._seen))]
        self._seen.pop(proof_id, None)
        self._seen[proof_id] = now + 2 * PROOF_AGE_S
        return True


def check_binding(
    confirmation: Mapping[str, Any] | None,
    token: bytes,
    proof: Proof,
    replays: Replays,
    *,
    bound_scheme: bool,
    now: float,
) -> None:
    """Demand what `cnf`, the confirmation, asks for; raises `Refused`. A token without may only come as Bearer."""
    if confirmation is None:
        if bound_scheme:
            raise refuse(Reason.UNBOUND_USE, "DPoP scheme, but the token is not bound")
        return
    thumbprint = confirmation.get("jkt")
    if not isinstance(thumbprint, str):
        raise refuse(Reason.UNSUPPORTED_BINDING, "cnf without jkt")
    if not bound_scheme:
        raise refuse(Reason.UNBOUND_USE, "a DPoP-bound token sent as Bearer")
    try:
        proof_id = _check_proof(proof, thumbprint, token, now)
    except Refused as refused:
        raise refuse(Reason.BAD_PROOF, refused.refusal.detail) from refused
    if not replays.first_time(f"{thumbprint}:{proof_id}", now):
        raise refuse(Reason.BAD_PROOF, "proof replayed")


def _check_proof(proof: Proof, thumbprint: str, token: bytes, now: float) -> str:
    if proof.header is None or len(proof.header) > MAX_PROOF or proof.header.count(b".") != 2:
        raise refuse(Reason.BAD_PROOF, "no single DPoP proof")
    header_part, payload_part, signature_part = proof.header.split(b".")
    key, algorithm = _proof_key(json_object(decode_part(header_part)))
    if key.thumbprint() != thumbprint:
        raise refuse(Reason.BAD_PROOF, "the proof's key is not the token's")
    signing_input = header_part + b"." + payload_part
    try:
        model = JWSRegistry.algorithms[algorithm]
        model.check_key(key)
        good = model.verify(signing_input, decode_part(signature_part), key)
    except (JoseError, ValueError) as error:
        raise refuse(Reason.BAD_PROOF, type(error).__name__) from error
    if not good:
        raise refuse(Reason.BAD_PROOF, "signature")
    return _check_payload(json_object(decode_part(payload_part)), proof, token, now)


def _proof_key(header: Mapping[str, Any]) -> tuple[VerificationKey, str]:
    algorithm, public = header.get("alg"), header.get("jwk")
    if header.get("typ") != "dpop+jwt" or "crit" in header:
        raise refuse(Reason.BAD_PROOF, "typ")
    if algorithm not in ALGORITHMS or algorithm not in ALLOWED_ALGORITHMS:
        raise refuse(Reason.BAD_PROOF, "alg")
    if not isinstance(public, dict) or not _PRIVATE.isdisjoint(public):
        raise refuse(Reason.BAD_PROOF, "jwk")
    try:
        return import_public(public), algorithm
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise refuse(Reason.BAD_PROOF, "jwk") from error


def _check_payload(claims: Mapping[str, Any], proof: Proof, token: bytes, now: float) -> str:
    hashed = base64.urlsafe_b64encode(hashlib.sha256(token).digest()).rstrip(b"=").decode()
    issued_at, proof_id = claims.get("iat"), claims.get("jti")
    if claims.get("htm") != proof.method or not _same_url(claims.get("htu"), proof.url):
        raise refuse(Reason.BAD_PROOF, "htm or htu")
    if isinstance(issued_at, bool) or not isinstance(issued_at, int | float):
        raise refuse(Reason.BAD_PROOF, "iat")
    if abs(now - issued_at) > PROOF_AGE_S:
        raise refuse(Reason.BAD_PROOF, "too old, or of the future")
    if claims.get("ath") != hashed:
        raise refuse(Reason.BAD_PROOF, "ath")
    if not isinstance(proof_id, str) or not 0 < len(proof_id) <= 256:
        raise refuse(Reason.BAD_PROOF, "jti")
    return proof_id


def _same_url(stated: object, actual: str) -> bool:
    """`htu` without query and fragment, scheme and host without regard to case (RFC 9449 §4.3 step 9)."""
    if not isinstance(stated, str):
        return False
    try:
        given, wanted = urlsplit(stated), urlsplit(actual)
    except ValueError:
        return False
    return (given.scheme.lower(), given.netloc.lower(), given.path) == (
        wanted.scheme.lower(),
        wanted.netloc.lower(),
        wanted.path,
    )
