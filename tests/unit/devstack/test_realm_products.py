"""Products and publishers by name: each exactly where it is called back, and nothing that could mean more."""

import re

import msgspec
import pytest
from click.testing import CliRunner

from devstack.cli import main
from devstack.realm.client_policies import client_policies, client_profiles
from devstack.realm.description import Variant, describe
from devstack.realm.products import PUBLISHERS, NotAllowed, publishers, redirects
from devstack.realm.scopes import Scope

SCOPES = (Scope("orders:read", "Read orders", roles=("reader",)),)


@pytest.mark.parametrize(
    ("allowed", "uris"),
    [
        ("claude.ai", ["https://claude.ai/api/mcp/auth_callback", "https://claude.com/api/mcp/auth_callback"]),
        ("chatgpt", ["https://chatgpt.com/connector_platform_oauth_redirect"]),
        ("chatgpt=FLLrQdlez6Uf", ["https://chatgpt.com/connector_platform_oauth_redirect", "https://chatgpt.com/connector/oauth/FLLrQdlez6Uf"]),
        ("copilot-studio=my-5fserver", ["https://global.consent.azure-apim.net/redirect", "https://global.consent.azure-apim.net/redirect/my-5fserver"]),
        ("librechat=chat.example.com/orders", ["https://chat.example.com/api/mcp/orders/oauth/callback"]),
        ("open-webui=ai.example.com:8443/orders", ["https://ai.example.com:8443/oauth/clients/mcp:orders/callback"]),
    ],
)  # fmt: skip
def test_a_product_is_its_own_redirects(allowed: str, uris: list[str]) -> None:
    assert list(redirects([allowed])) == uris
    document = describe(SCOPES, Variant(redirects=redirects([allowed])))
    public = next(one for one in document["clients"] if one["clientId"] == "mcp-public")
    assert set(uris) <= set(public["redirectUris"])
    assert set(uris).isdisjoint(next(c for c in describe(SCOPES)["clients"] if c["publicClient"])["redirectUris"])


@pytest.mark.parametrize(
    "allowed",
    [
        "nobody", "", "claude.ai=x", "librechat", "librechat=chat.example.com", "librechat=chat.example.com/", "open-webui",
        "librechat=chat.example.com/*", "librechat=*.example.com/x", "librechat=evil.example/x#", "chatgpt=../x",
        "librechat=user@chat.example.com/x", "librechat=https://chat.example.com/x", "chatgpt=*", "open-webui=localhost/x",
        "librechat=a.example/b/c", "copilot-studio=a b",
    ],
)  # fmt: skip
def test_what_could_mean_more_than_one_address_is_refused(allowed: str) -> None:
    with pytest.raises(NotAllowed):
        redirects([allowed])


def test_a_publisher_is_its_host_and_loopback() -> None:
    found = publishers(["docs.example.com", "claude.ai"])
    assert found.keys() - PUBLISHERS.keys() == {"docs.example.com"}
    assert found["docs.example.com"].names == ("docs.example.com", "127.0.0.1", "localhost", "[::1]")
    for wide in ("*.example.com", "localhost", "https://docs.example.com", "docs.example.com/x", "127.0.0.1"):
        with pytest.raises(NotAllowed):
            publishers([wide])


def test_without_documents_a_product_registers_with_exactly_its_redirect() -> None:
    uris = redirects(["claude.ai", "librechat=chat.example.com/orders"])
    document = describe(SCOPES, Variant(documents=False, redirects=uris))
    trusted = next(
        one for ones in document["components"].values() for one in ones if one["providerId"] == "trusted-hosts"
    )
    assert {"claude.ai", "claude.com", "chat.example.com"} <= set(trusted["config"]["trusted-hosts"])
    executors = document["clientProfiles"]["profiles"][0]["executors"]
    (patterns,) = [
        one["configuration"]["allowed-patterns"]
        for one in executors
        if "redirectUris" in one["configuration"].get("client-uri-fields", ())
    ]
    for uri in uris:
        assert [bool(re.fullmatch("|".join(patterns), text)) for text in (uri, uri + "/x", uri[:-1])] == [
            True,
            False,
            False,
        ]


def test_every_profile_has_one_policy_with_one_condition() -> None:
    """Keycloak leaves a condition out where it does not judge an event, and the others alone decide."""
    policies = client_policies(PUBLISHERS, local=True)
    profiles = [one["name"] for one in client_profiles((), PUBLISHERS, local=True)]
    assert [one["profiles"] for one in policies] == [[name] for name in profiles]
    assert all(len(one["conditions"]) == 1 for one in policies)


def test_names_are_given_on_the_command_line() -> None:
    asked = [
        "realm",
        "render",
        "--for",
        "development",
        "--publisher",
        "docs.example.com",
        "--allow",
        "claude.ai,chatgpt=abc",
        "--allow",
        "copilot-studio",
    ]
    told = CliRunner().invoke(main, asked)
    assert told.exit_code == 0, told.output
    document = msgspec.json.decode(told.stdout)
    names = {one["name"] for one in document["clientPolicies"]["policies"]}
    assert {"mcp-documents-docs.example.com", "mcp-documents-zed"} <= names
    trusted = next(
        one for ones in document["components"].values() for one in ones if one["providerId"] == "trusted-hosts"
    )
    # where documents are understood a registration is held to hosts: no such product may register there
    assert not {"claude.ai", "chatgpt.com"} & set(trusted["config"]["trusted-hosts"])
    wrong = CliRunner().invoke(main, ["realm", "render", "--for", "development", "--allow", "claude"])
    assert (wrong.exit_code, "claude.ai, chatgpt" in wrong.output) == (1, True)
