"""The metadata of an issuer: taken from it alone, and each address only where it can be used."""

from typing import Any

import pytest

from mcp_server.auth.issuer import discovery
from mcp_server.auth.issuer.discovery import IssuerMetadata
from mcp_server.auth.policy import IssuerPolicy

POLICY = IssuerPolicy(
    issuer="https://kc/realms/mcp", audiences=frozenset({"https://x/mcp"}), algorithms=frozenset({"RS256"})
)
DOCUMENT = {
    "issuer": POLICY.issuer,
    "jwks_uri": "https://kc/realms/mcp/certs",
    "introspection_endpoint": "https://kc/realms/mcp/i",
}
INNER = IssuerPolicy(
    issuer=POLICY.issuer,
    audiences=POLICY.audiences,
    algorithms=POLICY.algorithms,
    fetch_url="http://kc:8080/realms/mcp",
)


@pytest.mark.parametrize(
    ("document", "policy", "jwks_uri"),
    [
        (DOCUMENT, POLICY, "https://kc/realms/mcp/certs"),
        (DOCUMENT, INNER, "http://kc:8080/realms/mcp/certs"),
        (DOCUMENT | {"jwks_uri": "http://kc:8080/c"}, INNER, "http://kc:8080/c"),
        (DOCUMENT | {"jwks_uri": "https://cdn/keys"}, POLICY, "https://cdn/keys"),
        (DOCUMENT | {"jwks_uri": "http://kc/realms/mcp/certs"}, POLICY, None),
        (DOCUMENT | {"jwks_uri": "file:///etc/passwd"}, POLICY, None),
        (DOCUMENT | {"jwks_uri": 5}, POLICY, None),
        (DOCUMENT | {"issuer": POLICY.issuer + "/"}, POLICY, None),
        ([], POLICY, None),
    ],
)
def test_metadata_is_taken_from_the_exact_issuer_alone(
    document: Any, policy: IssuerPolicy, jwks_uri: str | None
) -> None:
    parsed = discovery.parse(document, policy)
    assert (parsed.jwks_uri if isinstance(parsed, IssuerMetadata) else None) == jwks_uri


def test_both_places_of_the_metadata() -> None:
    assert discovery.locations("https://kc/realms/mcp/") == (
        "https://kc/realms/mcp/.well-known/openid-configuration",
        "https://kc/.well-known/oauth-authorization-server/realms/mcp",
    )


def test_an_inner_address_is_not_told_to_clients() -> None:
    inner = discovery.parse(DOCUMENT | {"introspection_endpoint": "http://kc:8080/realms/mcp/i"}, INNER)
    assert isinstance(inner, IssuerMetadata)
    assert (inner.introspection_endpoint, inner.public_introspection_endpoint) == ("http://kc:8080/realms/mcp/i", None)
    public = discovery.parse(DOCUMENT, INNER)
    assert isinstance(public, IssuerMetadata)
    assert public.introspection_endpoint == "http://kc:8080/realms/mcp/i"
    assert public.public_introspection_endpoint == "https://kc/realms/mcp/i"


@pytest.mark.parametrize(
    ("stated", "policy", "expected"),
    [
        ("https://kc/realms/mcp/token", POLICY, "https://kc/realms/mcp/token"),
        ("https://kc/realms/mcp/token", INNER, "http://kc:8080/realms/mcp/token"),
        ("http://elsewhere/token", POLICY, None),
        (None, POLICY, None),
    ],
)
def test_a_token_endpoint_is_taken_where_it_can_be_used(
    stated: Any, policy: IssuerPolicy, expected: str | None
) -> None:
    parsed = discovery.parse(DOCUMENT | {"token_endpoint": stated}, policy)
    assert isinstance(parsed, IssuerMetadata)
    assert parsed.token_endpoint == expected
