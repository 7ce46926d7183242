"""The steps of the access-token profile that need no issuer."""

import pytest
from joserfc.jwk import RSAKey

from mcp_server.auth.policy import IssuerPolicy
from mcp_server.auth.refusals import AccessDeniedError, DenialReason
from mcp_server.auth.tokens import bearer, profile

POLICY = IssuerPolicy(
    issuer="https://kc/realms/mcp", audiences=frozenset({"https://x/mcp"}), algorithms=frozenset({"RS256"})
)


@pytest.mark.parametrize("part", [b"", b"a", b"abcde", b"ab=="])
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
