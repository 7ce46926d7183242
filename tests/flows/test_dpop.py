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

from mcp_server.auth.dpop import MAX_REMEMBERED, Replays
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
    "another key": lambda f, t: proof(f, t, {"jwk": ECKey.generate_key("P-256").as_dict(private=False)}),
    "signed by another key": lambda f, t: proof(f, t, key=ECKey.generate_key("P-256")),
    "htm": lambda f, t: proof(f, t, htm="GET"),
    "htu": lambda f, t: proof(f, t, htu="http://localhost/other"),
    "htu a number": lambda f, t: proof(f, t, htu=1),
    "htu broken": lambda f, t: proof(f, t, htu="http://[::1"),
    "iat missing": lambda f, t: proof(f, t, iat=OUT),
    "iat old": lambda f, t: proof(f, t, iat=time.time() - 301),
    "iat ahead": lambda f, t: proof(f, t, iat=time.time() + 301),
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


def test_remembered_proofs_are_bounded_and_forgotten_with_their_age() -> None:
    replays = Replays()
    for number in range(MAX_REMEMBERED + 10):
        assert replays.first_time(str(number), 0.0)
    assert len(replays._seen) == MAX_REMEMBERED
    last = str(MAX_REMEMBERED + 9)
    assert not replays.first_time(last, 1.0)
    assert replays.first_time(last, 10_000.0)
