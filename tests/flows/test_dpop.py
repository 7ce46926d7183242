"""A token bound by DPoP is served with its proof and refused without (RFC 9449)."""

import base64
import hashlib
import json
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from joserfc.jwk import ECKey, OctKey

from mcp_server.auth.binding import dpop
from mcp_server.auth.binding.dpop import PROOF_AGE_S, ReplayCache
from mcp_server.auth.refusals import AccessDeniedError, DenialReason
from tests.kit import wire
from tests.kit.stack import Stack
from tests.kit.tokens import OUT, Forge, b64, part

CALL = wire.legacy("tools/call", {"name": "list_orders"})
KEY = ECKey.generate_key("P-256")


@pytest.fixture(scope="module")
async def forge(stack: Stack) -> Forge:
    return Forge(stack)


def bound(forge: Forge) -> str:
    return forge.token(cnf={"jkt": KEY.thumbprint()}, typ="DPoP")


def proof(forge: Forge, token: str, header: dict[str, Any] | None = None, key: Any = KEY, **claims: Any) -> str:
    ath = base64.urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).rstrip(b"=").decode()
    body = {
        "htm": "POST",
        "htu": forge.stack.resource,
        "iat": time.time(),
        "ath": ath,
        "jti": str(time.time_ns()),
    } | claims
    head = {"typ": "dpop+jwt", "alg": "ES256", "jwk": KEY.as_dict(private=False)} | (header or {})
    kept = {name: value for name, value in head.items() if value is not OUT}
    return forge.sign(kept, {n: v for n, v in body.items() if v is not OUT}, key, "ES256")


async def send(forge: Forge, token: str, sent: str | None, scheme: str = "DPoP") -> Any:
    more = {} if sent is None else {"dpop": sent}
    return await forge.stack.post(CALL, authorization=f"{scheme} {token}", **more)


@pytest.mark.requirement("25.24")
async def test_a_bound_token_with_its_proof_is_served_and_the_proof_only_once(forge: Forge) -> None:
    token = bound(forge)
    once = proof(forge, token)
    assert (await send(forge, token, once)).status_code == 200
    again = await send(forge, token, once)
    assert again.status_code == 401
    assert again.headers["www-authenticate"].startswith('DPoP error="invalid_dpop_proof"')
    assert (
        await send(forge, token, proof(forge, token, htu=forge.stack.resource.replace("http", "HTTP", 1) + "?q=1"))
    ).status_code == 200


@pytest.mark.requirement("25.24")
async def test_a_bound_token_as_bearer_and_an_unbound_one_as_dpop_are_refused(forge: Forge) -> None:
    token = bound(forge)
    assert (await send(forge, token, proof(forge, token), "Bearer")).status_code == 401
    assert (await send(forge, forge.token(), None, "DPoP")).status_code == 401


BAD: dict[str, Any] = {
    "no proof": lambda f, t: None,
    "not a JWT": lambda f, t: "abc",
    "too large": lambda f, t: proof(f, t, pad="x" * 5000),
    "header not JSON": lambda f, t: f"{b64(b'x')}.{part({})}.{b64(b'x')}",
    "typ": lambda f, t: proof(f, t, {"typ": "JWT"}),
    "crit": lambda f, t: proof(f, t, {"crit": ["x"]}),
    "alg none": lambda f, t: proof(f, t, {"alg": "none"}),
    "alg HS256": lambda f, t: proof(f, t, {"alg": "HS256"}),
    "alg of another key": lambda f, t: proof(f, t, {"alg": "RS256"}),
    "no jwk": lambda f, t: proof(f, t, {"jwk": OUT}),
    "private jwk": lambda f, t: proof(f, t, {"jwk": KEY.as_dict(private=True)}),
    "symmetric jwk": lambda f, t: proof(f, t, {"jwk": {"kty": "oct", "kid": "a"}}),
    "secret jwk without a private member": lambda f, t: proof(
        f, t, {"jwk": {**OctKey.generate_key(256).as_dict(), "k": OUT and "x"}}
    ),
    "broken jwk": lambda f, t: proof(f, t, {"jwk": {"kty": "EC", "crv": "P-256", "x": "1", "y": "2"}}),
    "jwk for encryption": lambda f, t: proof(f, t, {"jwk": KEY.as_dict(private=False) | {"use": "enc"}}),
    "jwk of another alg": lambda f, t: proof(f, t, {"jwk": KEY.as_dict(private=False) | {"alg": "ES384"}}),
    "jwk with odd operations": lambda f, t: proof(f, t, {"jwk": KEY.as_dict(private=False) | {"key_ops": "x"}}),
    "jwk with an odd kid": lambda f, t: proof(f, t, {"jwk": KEY.as_dict(private=False) | {"kid": 5}}),
    "another key": lambda f, t: proof(f, t, {"jwk": ECKey.generate_key("P-256").as_dict(private=False)}),
    "signed by another key": lambda f, t: proof(f, t, key=ECKey.generate_key("P-256")),
    "htm": lambda f, t: proof(f, t, htm="GET"),
    "htu": lambda f, t: proof(f, t, htu="http://localhost/other"),
    "htu a number": lambda f, t: proof(f, t, htu=1),
    "htu broken": lambda f, t: proof(f, t, htu="http://[::1"),
    "iat missing": lambda f, t: proof(f, t, iat=OUT),
    "iat old": lambda f, t: proof(f, t, iat=time.time() - 301),
    "iat ahead": lambda f, t: proof(f, t, iat=time.time() + 301),
    "iat of a thousand bits": lambda f, t: proof(f, t, iat=10**300),
    "iat beyond a double": lambda f, t: proof(f, t, iat=10**400),
    "iat far below zero": lambda f, t: proof(f, t, iat=-(10**300)),
    "iat 1e308": lambda f, t: proof(f, t, iat=1e308),
    "jti half a surrogate": lambda f, t: proof(f, t, jti="\ud800"),
    "iat true": lambda f, t: proof(f, t, iat=True),
    "ath missing": lambda f, t: proof(f, t, ath=OUT),
    "ath of another token": lambda f, t: proof(f, t, ath="abc"),
    "jti missing": lambda f, t: proof(f, t, jti=OUT),
    "jti endless": lambda f, t: proof(f, t, jti="x" * 300),
}


def short_key(bits: int) -> Any:
    private = rsa.generate_private_key(65537, bits)
    numbers = private.public_key().public_numbers()
    n, e = (b64(one.to_bytes((one.bit_length() + 7) // 8)) for one in (numbers.n, numbers.e))
    return private, {"kty": "RSA", "n": n, "e": e}


@pytest.mark.parametrize(("bits", "status"), [(1024, 401), (2047, 401), (2048, 200)])
async def test_the_key_of_a_proof_is_measured(forge: Forge, bits: int, status: int) -> None:
    private, public = short_key(bits)
    named = json.dumps({name: public[name] for name in ("e", "kty", "n")}, separators=(",", ":")).encode()
    token = forge.token(cnf={"jkt": b64(hashlib.sha256(named).digest())}, typ="DPoP")
    unsigned = proof(forge, token, {"alg": "RS256", "jwk": public}).rpartition(".")[0]
    signature = private.sign(unsigned.encode(), padding.PKCS1v15(), hashes.SHA256())
    assert (await send(forge, token, f"{unsigned}.{b64(signature)}")).status_code == status


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_proof_is_refused(forge: Forge, name: str) -> None:
    token = bound(forge)
    answer = await send(forge, token, BAD[name](forge, token))
    assert answer.status_code == 401
    assert 'error="invalid_dpop_proof"' in answer.headers["www-authenticate"]


async def test_two_proofs_are_none(forge: Forge) -> None:
    token = bound(forge)
    sent = [("authorization", f"DPoP {token}"), *(("dpop", proof(forge, token)) for _ in range(2))]
    answer = await forge.stack.http.post(forge.stack.resource, json=CALL, headers=sent)
    assert answer.status_code == 401


def take(
    replays: ReplayCache, holder: str, proof_id: object, *, now: float, issued_at: float | None = None
) -> DenialReason | None:
    try:
        replays.take(holder, str(proof_id), issued_at=now if issued_at is None else issued_at, now=now)
    except AccessDeniedError as refused:
        return refused.refusal.reason
    return None


@pytest.mark.parametrize("ahead", [-PROOF_AGE_S, -1, 0, 59, PROOF_AGE_S])
def test_a_proof_is_remembered_as_long_as_it_could_be_accepted_and_then_forgotten(ahead: float) -> None:
    replays, now = ReplayCache(), 1_800_000_000.5
    issued_at = now + ahead
    assert take(replays, "alice", "1", issued_at=issued_at, now=now) is None
    for later in (now, issued_at + PROOF_AGE_S, now - 3600, issued_at + PROOF_AGE_S):  # set back, and come round again
        assert take(replays, "alice", "1", issued_at=issued_at, now=later) is DenialReason.BAD_PROOF
    assert take(replays, "alice", "2", now=now + 5000) is None
    assert len(replays) == 1
    assert take(replays, "alice", "3", now=now + 10_000) is None
    assert len(replays) == 1


def test_the_older_proofs_of_a_caller_are_forgotten_and_the_newer_are_not() -> None:
    replays = ReplayCache()
    for now in (0.0, 200.0):
        assert take(replays, "alice", now, now=now) is None
    assert take(replays, "alice", 200.0, issued_at=200.0, now=400.0) is DenialReason.BAD_PROOF
    assert len(replays) == 1


def test_who_floods_with_proofs_is_refused_and_pushes_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dpop, "MAX_REMEMBERED", 100)
    replays = ReplayCache()
    assert take(replays, "alice", "before", now=0.0) is None
    flood = [take(replays, "mallory", number, now=1.0) for number in range(300)]
    assert flood == [None] * 99 + [DenialReason.TOO_MANY_PROOFS] * 201
    assert take(replays, "alice", "before", now=2.0) is DenialReason.BAD_PROOF
    assert take(replays, "mallory", 0, now=2.0) is DenialReason.BAD_PROOF
    others = [take(replays, "alice", number, now=2.0) for number in range(60)]
    assert others == [None] * 49 + [DenialReason.TOO_MANY_PROOFS] * 11  # a half, for there are two
    assert take(replays, "bob", 0, now=2.0) is None
    assert take(replays, "mallory", "new", now=1000.0) is None
    assert len(replays) == 1


async def test_a_flood_of_proofs_is_429_and_no_reason_to_log_in_again(
    forge: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dpop, "MAX_REMEMBERED", 1)
    monkeypatch.setattr(forge.stack.plugin.authenticator, "_replays", ReplayCache())
    token = bound(forge)
    assert (await send(forge, token, proof(forge, token))).status_code == 200
    answer = await send(forge, token, proof(forge, token))
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "60")
    assert "www-authenticate" not in answer.headers
    keys = [ECKey.generate_key("P-256") for _ in range(2)]
    for key in keys:  # one person under many keys is one holder
        other = forge.token(cnf={"jkt": key.thumbprint()}, typ="DPoP")
        sent = proof(forge, other, {"jwk": key.as_dict(private=False)}, key)
        assert (await send(forge, other, sent)).status_code == 429
