"""The proof of possession that a bound token asks for (RFC 9449 §4.3, §7)."""

import base64
import hashlib
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry

from mcp_server.auth.issuer.keys import VerificationKey, import_public
from mcp_server.auth.policy import ALLOWED_ALGORITHMS
from mcp_server.auth.refusals import AccessDenied, AccessDeniedError, DenialReason, refuse
from mcp_server.auth.tokens.profile import decode_part, json_object

ALGORITHMS: Final = ("ES256", "RS256", "PS256", "EdDSA")
PROOF_AGE_S: Final = 300
MAX_PROOF: Final = 4096
MAX_REMEMBERED: Final = 100_000
"""Some 10 MB; one caller at the default of 100 calls a second has 36,000 within their age."""
_SLOT_S: Final = 60
_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "k", "oth"})


class Proof(msgspec.Struct, frozen=True):
    """What accompanies a request: the DPoP header, the method, and the URL as clients know it."""

    header: bytes | None
    method: str
    url: str


class ReplayCache:
    """Replay cache of proof ids, by who holds the token; none is forgotten while its proof could be accepted again.

    Where all room is taken, whoever has their fair part of it is refused: who floods fills the cache for themselves,
    under many keys, too, for it is counted by person or client. Others may still go up to their part, so the whole
    grows with the logarithm of their number. Ids lie in slots by the minute of `iat`, and end with their proof by the
    clock that judges it, even one that is set back. Each worker remembers for itself: a proof replayed to another
    worker is bounded by `PROOF_AGE_S` alone.
    """

    def __init__(self) -> None:
        self._slots: dict[int, dict[str, set[bytes]]] = {}
        self._held: dict[str, int] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def take(self, holder: str, proof_id: str, *, issued_at: float, now: float) -> None:
        """Remember a proof id; raises `AccessDeniedError` where it is known, or where its holder has too many."""
        self._forget(now)
        digest = hashlib.sha256(proof_id.encode()).digest()[:16]
        if any(digest in slot.get(holder, ()) for slot in self._slots.values()):
            raise refuse(DenialReason.BAD_PROOF, "proof replayed")
        mine = self._held.get(holder, 0)
        if self._count >= MAX_REMEMBERED and mine * len(self._held) >= MAX_REMEMBERED:
            raise AccessDeniedError(
                AccessDenied(DenialReason.TOO_MANY_PROOFS, f"{mine} of one holder", retry_after_s=_SLOT_S)
            )
        self._slots.setdefault(int(issued_at // _SLOT_S), {}).setdefault(holder, set()).add(digest)
        self._held[holder] = mine + 1
        self._count += 1

    def _forget(self, now: float) -> None:
        """Drop the slots all of whose proofs are too old."""
        for slot in [one for one in self._slots if (one + 1) * _SLOT_S + PROOF_AGE_S < now]:
            for holder, ids in self._slots.pop(slot).items():
                self._count -= len(ids)
                self._held[holder] -= len(ids)
                if not self._held[holder]:
                    del self._held[holder]


def check_binding(
    confirmation: Mapping[str, Any] | None,
    token: bytes,
    proof: Proof,
    replays: ReplayCache,
    *,
    holder: str,
    bound_scheme: bool,
    now: float,
) -> None:
    """Demand what `cnf`, the confirmation, asks for; raises `AccessDeniedError`. One without may only come as Bearer.

    `holder` is whose token it is: proof ids are counted by it.
    """
    if confirmation is None:
        if bound_scheme:
            raise refuse(DenialReason.UNBOUND_USE, "DPoP scheme, but the token is not bound")
        return
    thumbprint = confirmation.get("jkt")
    if not isinstance(thumbprint, str):
        raise refuse(DenialReason.UNSUPPORTED_BINDING, "cnf without jkt")
    if not bound_scheme:
        raise refuse(DenialReason.UNBOUND_USE, "a DPoP-bound token sent as Bearer")
    try:
        proof_id, issued_at = _check_proof(proof, thumbprint, token, now)
    except AccessDeniedError as refused:
        raise refuse(DenialReason.BAD_PROOF, refused.refusal.detail) from refused
    replays.take(holder, f"{thumbprint}:{proof_id}", issued_at=issued_at, now=now)


def _check_proof(proof: Proof, thumbprint: str, token: bytes, now: float) -> tuple[str, float]:
    """The id and the time of a proof that is right."""
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
    return _check_payload(json_object(decode_part(payload_part)), proof, token, now)


def _proof_key(header: Mapping[str, Any]) -> tuple[VerificationKey, str]:
    algorithm, public = header.get("alg"), header.get("jwk")
    if header.get("typ") != "dpop+jwt" or "crit" in header:
        raise refuse(DenialReason.BAD_PROOF, "typ")
    if algorithm not in ALGORITHMS or algorithm not in ALLOWED_ALGORITHMS:
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
    if not now - PROOF_AGE_S <= issued_at <= now + PROOF_AGE_S:  # compared, for a difference may be no float (10**400)
        raise refuse(DenialReason.BAD_PROOF, "too old, or of the future")
    if claims.get("ath") != hashed:
        raise refuse(DenialReason.BAD_PROOF, "ath")
    if not isinstance(proof_id, str) or not 0 < len(proof_id) <= 256:
        raise refuse(DenialReason.BAD_PROOF, "jti")
    return proof_id, issued_at


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
