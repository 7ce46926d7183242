"""Tokens, proofs and keys: what is let in is looked at again by a second reader, which shares no line with the first."""

import base64
import contextlib
import hashlib
import json
from typing import Any, Final

from joserfc.jwk import ECKey
from joserfc.jws import JWSRegistry

from mcp_server.auth.binding import dpop
from mcp_server.auth.issuer import discovery, keys
from mcp_server.auth.issuer.keys import Keys
from mcp_server.auth.policy import ALLOWED_ALGORITHMS, IssuerPolicy
from mcp_server.auth.refusals import AccessDeniedError
from mcp_server.auth.tokens import bearer, logout, profile
from mcp_server.auth.tokens.bearer import Credentials
from tests.fuzz.pieces import NOW, as_json, key, parts
from tests.kit.issuers import ISSUER, RESOURCE
from tests.kit.tokens import b64

SIGNER: Final = key(0xA11CE, "k")
PROVER: Final = key(0xB0B, "p")
POLICY: Final = IssuerPolicy(
    issuer=ISSUER,
    audiences=frozenset({RESOURCE}),
    algorithms=frozenset({"ES256"}),
    logout_clients=frozenset({"mcp-public"}),
)
POLICIES: Final = {ISSUER: POLICY}
THUMBPRINT: Final = PROVER.thumbprint()
ACCESS: Final = b"a-token"
ATH: Final = b64(hashlib.sha256(ACCESS).digest())


def token(data: bytes) -> None:
    """The bytes as an Authorization header, as a query, and as a token."""
    found = bearer.read(data)
    bearer.token_in_query(data)
    _judge(data)
    if isinstance(found, Credentials):
        _judge(found.token)


def claims(data: bytes) -> None:
    """A header and claims with the issuer's own signature: only what the profile allows gets in."""
    header, payload = parts(data, 2)
    whole = signed(header, payload, SIGNER)
    _judge(whole)
    with contextlib.suppress(AccessDeniedError):
        over = logout.verify(profile.open_token(whole, POLICIES, logout=True), SIGNER, now=NOW)
        assert over.client == "mcp-public"
        assert over.sid or over.subject
        assert logout.EVENT in json.loads(payload)["events"]


def proof(data: bytes) -> None:
    """A DPoP proof by its members, or as it is where there is a third part, beside a bound token."""
    header, payload, whole = parts(data, 3)
    sent = whole or signed(header, payload, PROVER)
    try:
        used = dpop.check_binding(
            {"jkt": THUMBPRINT}, ACCESS, dpop.Proof(sent, "POST", RESOURCE), bound_scheme=True, now=NOW
        )
    except AccessDeniedError:
        return
    assert used is not None
    head, body = (_opened(one) for one in sent.split(b".")[:2])
    assert head["typ"] == "dpop+jwt"
    assert "d" not in head["jwk"]
    assert (body["htm"], body["ath"]) == ("POST", ATH)
    assert body["htu"].lower().startswith("http://localhost:8000/")
    assert -dpop.PROOF_AGE_S <= body["iat"] - NOW <= dpop.PROOF_AHEAD_S
    assert used.proof_id == f"{THUMBPRINT}:{body['jti']}"


def issuer(data: bytes) -> None:
    """The issuer's key set and its metadata: values, whatever they say."""
    document, metadata = (as_json(one) for one in parts(data, 2))
    found = keys.parse(document, fetched_at=0)
    if isinstance(found, Keys):
        assert {algorithm for _, algorithm, _ in found.uses()} <= ALLOWED_ALGORITHMS
        assert all(not one.key.is_private for one in found.by_use.values())
    discovery.parse(metadata, POLICY)


def _judge(whole: bytes) -> None:
    """What an authenticator does with a token, and what must be so where it is let in."""
    try:
        opened = profile.open_token(whole, POLICIES)
        if opened.kid != SIGNER.kid:
            return
        found = profile.verify(opened, SIGNER, now=NOW)
    except AccessDeniedError:
        return
    head, body = (_opened(one) for one in whole.split(b".")[:2])
    audience = body["aud"]
    assert body["iss"] == ISSUER
    assert RESOURCE in ([audience] if isinstance(audience, str) else audience)
    assert body["exp"] + POLICY.leeway_s == found.expires_at > NOW
    assert body["iat"] <= NOW + POLICY.leeway_s
    assert body.get("nbf", 0) <= NOW + POLICY.leeway_s
    assert body["sub"]
    assert isinstance(body["sub"], str)
    assert head["alg"] == "ES256"
    assert not {"crit", "jwk", "jku", "x5u", "x5c", "b64"} & head.keys()
    assert body.get("typ", "at+jwt" in head["typ"].lower()) in ("Bearer", "DPoP", True)
    assert not {"nonce", "at_hash", "events"} & body.keys()
    assert ("cnf" in body) is (found.confirmation is not None)
    assert found.scope <= set(str(body.get("scope")).split(" "))


def signed(header: bytes, payload: bytes, by: ECKey) -> bytes:
    """A token or a proof of these very bytes."""
    signing_input = f"{b64(header)}.{b64(payload)}".encode()
    return signing_input + b"." + b64(JWSRegistry.algorithms["ES256"].sign(signing_input, by)).encode()


def _opened(part: bytes) -> Any:
    return json.loads(base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4)))
