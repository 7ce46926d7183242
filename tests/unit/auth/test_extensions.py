"""Which authorization extensions are true of an issuer, by its metadata and what is trusted of it."""

from typing import Any

import pytest

from mcp_server.auth import extensions
from mcp_server.auth.authenticator import Authenticator
from mcp_server.auth.extensions import CLIENT_CREDENTIALS, ENTERPRISE_MANAGED
from mcp_server.auth.issuer import discovery
from mcp_server.auth.issuer.discovery import Grants, IssuerMetadata
from tests.kit.issuers import ISSUER, KEYS, METADATA, Paper, policy

CC: dict[str, Any] = {
    "grant_types_supported": ["authorization_code", "client_credentials"],
    "token_endpoint_auth_methods_supported": ["none", "private_key_jwt"],
}
EMA: dict[str, Any] = {
    "grant_types_supported": ["urn:ietf:params:oauth:grant-type:jwt-bearer"],
    "authorization_grant_profiles_supported": ["urn:ietf:params:oauth:grant-profile:id-jag"],
}
AGENT: dict[str, Any] = {"service_clients": frozenset({"agent"})}


@pytest.mark.parametrize(
    ("document", "trusted", "wanted"),
    [
        (CC, AGENT, {CLIENT_CREDENTIALS}),
        (CC | {"token_endpoint_auth_methods_supported": ["client_secret_basic"]}, AGENT, {CLIENT_CREDENTIALS}),
        (CC | {"token_endpoint_auth_methods_supported": ["none", "client_secret_post"]}, AGENT, set()),
        (CC | {"token_endpoint_auth_methods_supported": None}, AGENT, set()),
        (CC | {"grant_types_supported": ["authorization_code"]}, AGENT, set()),
        (CC | {"grant_types_supported": "client_credentials"}, AGENT, set()),
        (CC | {"grant_types_supported": [["client_credentials"], 5, None]}, AGENT, set()),
        (CC, {}, set()),
        (EMA, {}, {ENTERPRISE_MANAGED}),
        (EMA | {"authorization_grant_profiles_supported": []}, {}, set()),
        (EMA | {"grant_types_supported": ["authorization_code"]}, {}, set()),
        (CC | EMA | {"grant_types_supported": [*CC["grant_types_supported"], *EMA["grant_types_supported"]]}, AGENT,
         {CLIENT_CREDENTIALS, ENTERPRISE_MANAGED}),
        ({}, AGENT, set()),
    ],
)  # fmt: skip
def test_an_extension_is_true_where_such_a_token_can_be_had_and_is_accepted(
    document: dict[str, Any], trusted: dict[str, Any], wanted: set[str]
) -> None:
    one = policy(**trusted)
    parsed = discovery.parse({"issuer": ISSUER, "jwks_uri": ISSUER + KEYS, **document}, one)
    assert isinstance(parsed, IssuerMetadata)
    assert extensions.supported_extensions(one, parsed.grants) == wanted


def test_nothing_is_true_of_an_issuer_that_says_nothing() -> None:
    assert extensions.supported_extensions(policy(**AGENT), Grants()) == frozenset()


async def test_they_are_known_when_an_issuer_was_reached() -> None:
    issuer = Paper()
    issuer.documents[METADATA] = {"issuer": ISSUER, "jwks_uri": ISSUER + KEYS, **CC}
    async with issuer.fetcher() as fetcher:
        authenticator = Authenticator(issuer.config(**AGENT), fetcher=fetcher)
        assert authenticator.extensions() == frozenset()
        assert await authenticator.issuers[ISSUER].refresh()
        assert authenticator.extensions() == {CLIENT_CREDENTIALS}
