"""The binding of a token to a key: which proofs are right, which are not, and of which URL they speak."""

import hashlib
import json
import time
from typing import Any
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc.jwk import ECKey, OctKey

from mcp_server.auth.binding.dpop import ALGORITHMS, UsedProof, check_binding
from mcp_server.auth.policy import ALLOWED_ALGORITHMS
from mcp_server.auth.refusals import AccessDeniedError, DenialReason
from tests.kit import proofs
from tests.kit.proofs import KEY
from tests.kit.tokens import OUT, b64, part

TOKEN = "the.access.token"
BOUND = {"jkt": KEY.thumbprint()}


def checked(
    sent: str | None, confirmation: Any = BOUND, *, bound: bool = True, **request: str
) -> UsedProof | DenialReason | None:
    try:
        return check_binding(
            confirmation, TOKEN.encode(), proofs.of_request(sent, **request), bound_scheme=bound, now=time.time()
        )
    except AccessDeniedError as refused:
        return refused.refusal.reason


def test_a_proof_is_signed_by_no_algorithm_that_a_token_may_not_name() -> None:
    assert ALLOWED_ALGORITHMS.issuperset(ALGORITHMS)


def test_a_right_proof_is_handed_back_with_its_key_and_time() -> None:
    now = time.time()
    found = checked(proofs.made(TOKEN, jti="1", iat=now))
    assert found == UsedProof(f"{KEY.thumbprint()}:1", now)


@pytest.mark.parametrize(
    ("confirmation", "bound", "reason"),
    [
        (None, False, None),
        (None, True, DenialReason.UNBOUND_USE),
        (BOUND, False, DenialReason.UNBOUND_USE),
        ({}, True, DenialReason.UNSUPPORTED_BINDING),
        ({"x5t#S256": "a"}, True, DenialReason.UNSUPPORTED_BINDING),
        ({"jkt": 5}, False, DenialReason.UNSUPPORTED_BINDING),
    ],
)
def test_scheme_and_token_must_agree(confirmation: Any, reason: DenialReason | None, *, bound: bool) -> None:
    assert checked(proofs.made(TOKEN), confirmation, bound=bound) is reason


BAD: dict[str, Any] = {
    "no proof": lambda t: None,
    "not a JWT": lambda t: "abc",
    "too large": lambda t: proofs.made(t, pad="x" * 5000),
    "header not JSON": lambda t: f"{b64(b'x')}.{part({})}.{b64(b'x')}",
    "typ": lambda t: proofs.made(t, {"typ": "JWT"}),
    "crit": lambda t: proofs.made(t, {"crit": ["x"]}),
    "alg none": lambda t: proofs.made(t, {"alg": "none"}),
    "alg HS256": lambda t: proofs.made(t, {"alg": "HS256"}),
    "alg of another key": lambda t: proofs.made(t, {"alg": "RS256"}),
    "no jwk": lambda t: proofs.made(t, {"jwk": OUT}),
    "private jwk": lambda t: proofs.made(t, {"jwk": KEY.as_dict(private=True)}),
    "symmetric jwk": lambda t: proofs.made(t, {"jwk": {"kty": "oct", "kid": "a"}}),
    "secret jwk without a private member": lambda t: proofs.made(
        t, {"jwk": {**OctKey.generate_key(256).as_dict(), "k": OUT and "x"}}
    ),
    "broken jwk": lambda t: proofs.made(t, {"jwk": {"kty": "EC", "crv": "P-256", "x": "1", "y": "2"}}),
    "jwk for encryption": lambda t: proofs.made(t, {"jwk": KEY.as_dict(private=False) | {"use": "enc"}}),
    "jwk of another alg": lambda t: proofs.made(t, {"jwk": KEY.as_dict(private=False) | {"alg": "ES384"}}),
    "jwk with odd operations": lambda t: proofs.made(t, {"jwk": KEY.as_dict(private=False) | {"key_ops": "x"}}),
    "jwk with an odd kid": lambda t: proofs.made(t, {"jwk": KEY.as_dict(private=False) | {"kid": 5}}),
    "another key": lambda t: proofs.made(t, {"jwk": ECKey.generate_key("P-256").as_dict(private=False)}),
    "signed by another key": lambda t: proofs.made(t, {"jwk": KEY.as_dict(private=False)}, ECKey.generate_key("P-256")),
    "htm": lambda t: proofs.made(t, htm="GET"),
    "htu": lambda t: proofs.made(t, htu="http://localhost/other"),
    "htu a number": lambda t: proofs.made(t, htu=1),
    "htu broken": lambda t: proofs.made(t, htu="http://[::1"),
    "htu elsewhere on the host": lambda t: proofs.made(t, htu="http://localhost:8000/mcp/x"),
    "htu on another port": lambda t: proofs.made(t, htu="http://localhost:8001/mcp"),
    "htu over TLS": lambda t: proofs.made(t, htu="https://localhost:8000/mcp"),
    "htu with a port that is no number": lambda t: proofs.made(t, htu="http://localhost:x/mcp"),
    "iat missing": lambda t: proofs.made(t, iat=OUT),
    "iat old": lambda t: proofs.made(t, iat=time.time() - 301),
    "iat ahead": lambda t: proofs.made(t, iat=time.time() + 62),
    "iat of a thousand bits": lambda t: proofs.made(t, iat=10**300),
    "iat beyond a double": lambda t: proofs.made(t, iat=10**400),
    "iat far below zero": lambda t: proofs.made(t, iat=-(10**300)),
    "iat 1e308": lambda t: proofs.made(t, iat=1e308),
    "jti half a surrogate": lambda t: proofs.made(t, jti="\ud800"),
    "iat true": lambda t: proofs.made(t, iat=True),
    "ath missing": lambda t: proofs.made(t, ath=OUT),
    "ath of another token": lambda t: proofs.made(t, ath="abc"),
    "jti missing": lambda t: proofs.made(t, jti=OUT),
    "jti endless": lambda t: proofs.made(t, jti="x" * 300),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_proof_is_refused(name: str) -> None:
    assert checked(BAD[name](TOKEN)) is DenialReason.BAD_PROOF


@pytest.mark.parametrize(
    ("stated", "url"),
    [
        ("HTTP://LOCALHOST:8000/mcp?q=1#f", "http://localhost:8000/mcp"),
        ("https://x/mcp", "https://x:443/mcp"),
        ("http://x:80", "http://x/"),
        ("http://x:/a", "http://x/a"),
        ("http://[::1]:80/a", "http://[::1]/a"),
        ("https://x/files/a%2fb", "https://x/files/a%2Fb"),
        ("https://x/%7Eme/%41", "https://x/~me/A"),
        ("https://x/caf%c3%a9", "https://x/caf%C3%A9"),
    ],
)
def test_htu_may_be_spelt_in_each_way_that_rfc_3986_takes_for_the_same(stated: str, url: str) -> None:
    assert isinstance(checked(proofs.made(TOKEN, htu=stated), url=url), UsedProof)
    assert isinstance(checked(proofs.made(TOKEN, htu=url), url=stated), UsedProof)


@pytest.mark.parametrize(
    ("stated", "url"),
    [
        ("https://x/a/b", "https://x/a%2Fb"),
        ("https://x/a%252Fb", "https://x/a%2Fb"),
        ("https://x/A", "https://x/a"),
        ("https://x/a/", "https://x/a"),
        ("http://x:443/a", "http://x/a"),
        ("https://x:80/a", "https://x/a"),
        ("https://x/a b", "https://x/a%20b"),
        ("https://user@x/a", "https://x/a"),
    ],
)
def test_htu_of_another_place_is_refused(stated: str, url: str) -> None:
    assert checked(proofs.made(TOKEN, htu=stated), url=url) is DenialReason.BAD_PROOF


@settings(max_examples=40)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12))
def test_a_client_names_the_path_as_it_sends_it(name: str) -> None:
    """House fault 41: the path was compared with its escapes undone, so no route with escapes could be called."""
    url = f"https://x/files/{quote(name, safe='')}"
    assert isinstance(checked(proofs.made(TOKEN, htu=url), url=url), UsedProof)


def short_key(bits: int) -> Any:
    private = rsa.generate_private_key(65537, bits)
    numbers = private.public_key().public_numbers()
    n, e = (b64(one.to_bytes((one.bit_length() + 7) // 8)) for one in (numbers.n, numbers.e))
    return private, {"kty": "RSA", "n": n, "e": e}


@pytest.mark.parametrize(("bits", "usable"), [(1024, False), (2047, False), (2048, True)])
def test_the_key_of_a_proof_is_measured(bits: int, *, usable: bool) -> None:
    private, public = short_key(bits)
    named = json.dumps({name: public[name] for name in ("e", "kty", "n")}, separators=(",", ":")).encode()
    unsigned = proofs.made(TOKEN, {"alg": "RS256", "jwk": public}).rpartition(".")[0]
    signature = private.sign(unsigned.encode(), padding.PKCS1v15(), hashes.SHA256())
    found = checked(f"{unsigned}.{b64(signature)}", {"jkt": b64(hashlib.sha256(named).digest())})
    assert isinstance(found, UsedProof) is usable
