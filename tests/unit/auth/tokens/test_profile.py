"""The steps of the access-token profile that need no issuer."""

from typing import Any

import pytest
from joserfc.jwk import ECKey, RSAKey

from mcp_server.auth.policy import IssuerPolicy
from mcp_server.auth.refusals import AccessDeniedError, DenialReason
from mcp_server.auth.tokens import bearer, profile
from tests.kit.issuers import ISSUER, RESOURCE, Paper, policy, signed
from tests.kit.tokens import OUT

POLICY = IssuerPolicy(
    issuer="https://kc/realms/mcp", audiences=frozenset({"https://x/mcp"}), algorithms=frozenset({"RS256"})
)


@pytest.mark.parametrize("part", [b"", b"a", b"abcde", b"ab==", b"ab", b"abd"])
def test_base64url_has_one_spelling(part: bytes) -> None:
    with pytest.raises(AccessDeniedError):
        profile.decode_part(part)


def test_a_token_over_the_cap_is_refused_before_it_is_split() -> None:
    with pytest.raises(AccessDeniedError) as refused:
        profile.open_token(b"e" * (bearer.MAX_TOKEN + 1), {})
    assert refused.value.refusal.reason is DenialReason.TOKEN_TOO_LARGE


def test_a_key_that_is_not_of_the_algorithm_verifies_nothing() -> None:
    opened = profile.OpenedToken(
        algorithm="ES256", kid="k", rfc9068=False, signing_input=b"a.b", signature=b"sig",
        payload={}, document=b"{}", policy=POLICY,
    )  # fmt: skip
    with pytest.raises(AccessDeniedError) as refused:
        profile.verify(opened, RSAKey.generate_key(2048), now=0)
    assert refused.value.refusal.reason is DenialReason.BAD_SIGNATURE


def opened(header: dict[str, Any] | None = None, **changed: Any) -> profile.OpenedToken:
    paper = Paper()
    head = {"alg": "ES256", "typ": "JWT", "kid": "k"} | (header or {})
    token = signed({n: v for n, v in head.items() if v is not OUT}, paper.claims(**changed), paper.key)
    return profile.open_token(token.encode(), {ISSUER: policy()})


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"jku": "https://evil.example"}, DenialReason.FORBIDDEN_HEADER),
        ({"crit": []}, DenialReason.FORBIDDEN_HEADER),
        ({"typ": OUT}, DenialReason.WRONG_TYPE),
        ({"typ": "dpop+jwt"}, DenialReason.WRONG_TYPE),
        ({"kid": OUT}, DenialReason.UNKNOWN_KEY),
        ({"kid": "x" * 257}, DenialReason.UNKNOWN_KEY),
        ({"alg": "RS256"}, DenialReason.WRONG_ALGORITHM),
        ({"alg": ["ES256"]}, DenialReason.WRONG_ALGORITHM),
        ({"alg": "none"}, DenialReason.WRONG_ALGORITHM),
    ],
)
def test_a_header_is_judged_before_any_key_is_asked_for(header: dict[str, Any], reason: DenialReason) -> None:
    with pytest.raises(AccessDeniedError) as refused:
        opened(header)
    assert refused.value.refusal.reason is reason


@pytest.mark.parametrize("issuer", [ISSUER + "/", ISSUER.upper(), [ISSUER], None, OUT])
def test_an_issuer_is_one_of_ours_to_the_letter(issuer: Any) -> None:
    with pytest.raises(AccessDeniedError) as refused:
        opened(iss=issuer)
    assert refused.value.refusal.reason is DenialReason.UNKNOWN_ISSUER
    assert refused.value.refusal.detail.endswith(f", expected {ISSUER}")


@pytest.mark.parametrize("token", [b"a.b", b"a.b.c.d", b"", b"e30.e30.e30.", b"e30..e30"])
def test_a_token_has_three_parts(token: bytes) -> None:
    with pytest.raises(AccessDeniedError) as refused:
        profile.open_token(token, {ISSUER: policy()})
    assert refused.value.refusal.reason is DenialReason.NOT_A_TOKEN


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"aud": OUT}, DenialReason.WRONG_AUDIENCE),
        ({"aud": [RESOURCE, 5]}, DenialReason.WRONG_AUDIENCE),
        ({"aud": RESOURCE + "/" + "x" * 100}, DenialReason.WRONG_AUDIENCE),
        ({"exp": True}, DenialReason.MALFORMED_CLAIMS),
        ({"exp": -1}, DenialReason.MALFORMED_CLAIMS),
        ({"iat": "1"}, DenialReason.MALFORMED_CLAIMS),
        ({"exp": 1470}, DenialReason.EXPIRED),
        ({"iat": 1531}, DenialReason.ISSUED_IN_FUTURE),
        ({"nbf": 1531}, DenialReason.NOT_YET_VALID),
        ({"typ": "ID"}, DenialReason.NOT_AN_ACCESS_TOKEN),
        ({"typ": OUT}, DenialReason.NOT_AN_ACCESS_TOKEN),
        ({"nonce": "n"}, DenialReason.NOT_AN_ACCESS_TOKEN),
        ({"sub": OUT}, DenialReason.NO_SUBJECT),
        ({"sub": 5}, DenialReason.MALFORMED_CLAIMS),
        ({"sid": OUT}, DenialReason.NO_PERSON),
        ({"typ": "DPoP"}, DenialReason.UNSUPPORTED_BINDING),
        ({"cnf": "x"}, DenialReason.UNSUPPORTED_BINDING),
    ],
)
def test_claims_are_judged_whoever_signed_them(changed: dict[str, Any], reason: DenialReason) -> None:
    raw = Paper().claims(**{"exp": 2000, "iat": 1000, **changed})
    with pytest.raises(AccessDeniedError) as refused:
        profile.check_claims(raw, b"{}", policy(leeway_s=30), now=1500, rfc9068=False)
    assert refused.value.refusal.reason is reason


@pytest.mark.parametrize("changed", [{"exp": 1471}, {"iat": 1530}, {"nbf": 1530}, {"typ": "DPoP", "cnf": {"jkt": "x"}}])
def test_the_leeway_is_allowed_both_ways(changed: dict[str, Any]) -> None:
    raw = Paper().claims(**{"exp": 2000, "iat": 1000, **changed})
    found = profile.check_claims(raw, b"{}", policy(leeway_s=30), now=1500, rfc9068=False)
    assert found.expires_at == raw["exp"] + 30


def test_a_listed_client_calls_for_itself() -> None:
    raw = Paper().claims(exp=2000, iat=1000, sid=OUT)
    trusting = policy(service_clients=frozenset({"portal"}))
    assert profile.check_claims(raw, b"{}", trusting, now=1500, rfc9068=False).kind == "client"


def test_another_signature_than_the_keys_is_none() -> None:
    with pytest.raises(AccessDeniedError) as refused:
        profile.verify(opened(), ECKey.generate_key("P-256"), now=0)
    assert refused.value.refusal.reason is DenialReason.BAD_SIGNATURE
