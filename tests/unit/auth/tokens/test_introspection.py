"""Introspection as values: what is asked, and an answer that passes the same steps as a JWT."""

import base64
from typing import Any
from urllib.parse import unquote

import pytest

from mcp_server.auth.policy import IssuerPolicy
from mcp_server.auth.refusals import AccessDeniedError, DenialReason
from mcp_server.auth.tokens import introspection
from mcp_server.auth.tokens.introspection import IntrospectionClient

POLICY = IssuerPolicy(
    issuer="https://kc/realms/mcp", audiences=frozenset({"https://x/mcp"}), algorithms=frozenset({"RS256"})
)
ACTIVE = {
    "active": True,
    "aud": "https://x/mcp",
    "exp": 2000,
    "iat": 900,
    "sub": "u",
    "sid": "s",
    "client_id": "c",
    "scope": "a b",
}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (ACTIVE, None),
        (ACTIVE | {"iss": POLICY.issuer}, None),
        ({k: v for k, v in ACTIVE.items() if k != "iat"}, None),
        ({"active": False}, DenialReason.INACTIVE),
        ({"active": "true"}, DenialReason.INACTIVE),
        ([], DenialReason.INACTIVE),
        (ACTIVE | {"iss": "https://other"}, DenialReason.UNKNOWN_ISSUER),
        (ACTIVE | {"aud": "other"}, DenialReason.WRONG_AUDIENCE),
        (ACTIVE | {"exp": 900}, DenialReason.EXPIRED),
        (ACTIVE | {"typ": "Refresh"}, DenialReason.NOT_AN_ACCESS_TOKEN),
        (ACTIVE | {"typ": {}}, None),
        (ACTIVE | {"sid": ""}, DenialReason.NO_PERSON),
        ({k: v for k, v in ACTIVE.items() if k != "sub"}, DenialReason.NO_SUBJECT),
        (ACTIVE | {"token_type": "DPoP", "cnf": {"jkt": "x"}}, None),
        (ACTIVE | {"token_type": "DPoP"}, DenialReason.UNSUPPORTED_BINDING),
        (ACTIVE | {"token_type": "dpop"}, DenialReason.UNSUPPORTED_BINDING),
        (ACTIVE | {"typ": "DPoP"}, DenialReason.UNSUPPORTED_BINDING),
        (ACTIVE | {"typ": "DPoP", "cnf": None}, DenialReason.UNSUPPORTED_BINDING),
    ],
)
def test_an_introspected_token_passes_the_same_steps(answer: Any, reason: DenialReason | None) -> None:
    if reason is None:
        assert introspection.accept(answer, POLICY, now=1000).scope == {"a", "b"}
        return
    with pytest.raises(AccessDeniedError) as refused:
        introspection.accept(answer, POLICY, now=1000)
    assert refused.value.refusal.reason is reason


def test_the_log_says_which_audience_was_expected_and_the_caller_is_not_told() -> None:
    with pytest.raises(AccessDeniedError) as refused:
        introspection.accept(ACTIVE | {"aud": "other"}, POLICY, now=1000)
    assert refused.value.refusal.detail == "aud 'other', expected https://x/mcp"
    assert "https://x/mcp" not in DenialReason.WRONG_AUDIENCE.public


def test_a_url_client_id_is_percent_encoded_before_basic() -> None:
    sent = IntrospectionClient("http://localhost:8000/mcp", "s:ü").basic()
    user, secret = base64.b64decode(sent.removeprefix("Basic ")).decode().split(":")
    assert (unquote(user), unquote(secret)) == ("http://localhost:8000/mcp", "s:ü")
