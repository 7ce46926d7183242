"""The key set of an issuer as a value: what each key may verify, and which unknown one earns a fetch."""

from typing import Any

import pytest
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from mcp_server.auth.issuer import keys
from mcp_server.auth.issuer.keys import Hit, Keys, Miss, RefetchBudget
from mcp_server.auth.policy import KeyPolicy
from tests.kit.tokens import b64

RSA = RSAKey.generate_key(2048, {"kid": "r"}).as_dict(private=False)
EC = ECKey.generate_key("P-256", {"kid": "e"}).as_dict(private=False)


@pytest.mark.parametrize(
    ("entry", "uses"),
    [
        (RSA, {("r", a) for a in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")}),
        (RSA | {"alg": "RS256"}, {("r", "RS256")}),
        (RSA | {"alg": ["RS256"]}, set()),
        (RSA | {"alg": "RSA-OAEP"}, set()),
        (RSA | {"use": "enc"}, set()),
        (RSA | {"key_ops": ["sign"]}, set()),
        (RSA | {"key_ops": "verify"}, set()),
        (RSA | {"kid": 5}, set()),
        (RSA | {"n": "AQAB"}, set()),
        (RSA | {"n": 7}, set()),
        (RSA | {"n": "w" * 171}, set()),
        (EC, {("e", "ES256")}),
        (EC | {"crv": "P-999"}, set()),
        (EC | {"x": "AA"}, set()),
        (OKPKey.generate_key("Ed25519", {"kid": "o"}).as_dict(private=False), {("o", "EdDSA"), ("o", "Ed25519")}),
        ({"kty": "oct", "k": "c2VjcmV0", "kid": "s"}, set()),
        ({"kty": "LMS", "kid": "l"}, set()),
        ("text", set()),
    ],
)
def test_a_key_is_bound_to_what_it_may_verify_and_an_unusable_one_is_skipped(
    entry: Any, uses: set[tuple[str, str]]
) -> None:
    other = ECKey.generate_key("P-384", {"kid": "other"}).as_dict(private=False)
    parsed = keys.parse({"keys": [entry, other]}, fetched_at=1.0)
    assert isinstance(parsed, Keys)
    assert set(parsed.by_use) == uses | {("other", "ES384")}


def rsa(modulus: int, exponent: int = 65537, padding: int = 0) -> dict[str, Any]:
    size = (modulus.bit_length() + 7) // 8 + padding
    return {"kty": "RSA", "kid": "r", "n": b64(modulus.to_bytes(size)), "e": b64(exponent.to_bytes(40).lstrip(b"\0"))}


@pytest.mark.parametrize(
    ("entry", "usable"),
    [
        (rsa(2**2048 - 1), True),
        (rsa(2**2047 + 1), True),
        (rsa(2**2048 - 1, padding=300), True),
        (rsa(2**8192 - 1), True),
        (rsa(2**8192 + 1), False),
        (rsa(2**100_000 - 1), False),
        (rsa(2**2047 - 1), False),
        (rsa(2**1024 - 1), False),
        (rsa(2**1024 - 1, padding=1024), False),
        (rsa(2**2048 - 2), False),
        (rsa(2**2048 - 1, 1), False),
        (rsa(2**2048 - 1, 3), False),
        (rsa(2**2048 - 1, 65536), False),
        (rsa(2**2048 - 1, 65539), True),
        (rsa(2**2048 - 1, 2**32 + 1), False),
        (rsa(2**2048 - 1, 2**256 + 1), False),
        (rsa(2**2048 - 1) | {"n": "\u00e9" * 400}, False),
        (rsa(2**2048 - 1) | {"e": None}, False),
        (OKPKey.generate_key("Ed448", {"kid": "o"}).as_dict(private=False), False),
        (OKPKey.generate_key("X25519", {"kid": "o"}).as_dict(private=False), False),
        (ECKey.generate_key("secp256k1", {"kid": "o"}).as_dict(private=False), False),
        ({"kty": "oct", "k": "c2VjcmV0", "kid": "o"}, False),
    ],
)
def test_a_key_is_measured_as_what_it_is(entry: dict[str, Any], *, usable: bool) -> None:
    try:
        keys.import_public(entry)
    except (JoseError, ValueError, TypeError):
        assert not usable
    else:
        assert usable
    assert isinstance(keys.parse({"keys": [entry]}, fetched_at=0), Keys) is usable


@pytest.mark.parametrize("document", [None, [], {}, {"keys": "x"}, {"keys": {}}, {"keys": []}, {"keys": [{}]}])
def test_a_document_without_keys_is_refused(document: Any) -> None:
    assert isinstance(keys.parse(document, fetched_at=0), str)


def test_only_an_unknown_kid_earns_a_fetch() -> None:
    parsed = keys.parse({"keys": [EC]}, fetched_at=1.0)
    assert isinstance(parsed, Keys)
    assert isinstance(keys.look_up(parsed, "e", "ES256", allowed_to_fetch=False), Hit)
    assert keys.look_up(parsed, "e", "RS256", allowed_to_fetch=True) == Miss("reject")
    assert keys.look_up(parsed, "new", "ES256", allowed_to_fetch=True) == Miss("fetch")
    assert keys.look_up(parsed, "new", "ES256", allowed_to_fetch=False) == Miss("reject")


def test_the_allowance_is_two_a_cooldown() -> None:
    allowance, policy = RefetchBudget(), KeyPolicy(cooldown_s=30)
    spent = []
    for now in range(0, 90, 10):
        if allowance.left(policy, now):
            allowance.spend(now)
            spent.append(now)
    assert spent == [0, 10, 30, 40, 60, 70]
