"""What clients must keep to: Keycloak's client profiles, and the client policies that say to whom each applies.

A policy has one condition. At an event that a condition does not judge Keycloak leaves it out, and the others alone
decide: `client-updater-context` with `client-access-type` and `reject-request`, which was meant for registrations,
refuses every token request of every confidential client.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from devstack.realm.products import LOOPBACK, Publisher
from devstack.realm.registration import PAGE_HOSTS, hosts

REGISTERED: Final = "mcp-registered"
NO_DEVICE: Final = "mcp-no-device-grant"
NARROWED: Final = "mcp-exchange-narrows"
DEVICE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
EXCHANGE_GRANT: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
DOWNSCOPE: Final = "downscope-assertion-grant-enforcer"
ADDRESSES: Final = "secure-client-uris-pattern"
_HERE: Final = r"http://(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?(/[^?#*\\\s]*)?"
"""Loopback, on any port and path; no query, fragment, wildcard or backslash, none of which is what it looks like."""
CALLED_BY_KEYCLOAK: Final = (
    *("adminUrl", "jwksUri", "requestUris", "backchannelLogoutUrl"),
    *("cibaClientNotificationEndpoint", "sectorIdentifierUri", "saml.metadataDescriptorUrl"),
    *("saml_assertion_consumer_url_post", "saml_assertion_consumer_url_redirect", "saml_artifact_binding_url"),
    *("saml_single_logout_service_url_post", "saml_single_logout_service_url_artifact"),
    *("saml_single_logout_service_url_redirect", "saml_single_logout_service_url_soap"),
    "saml_artifact_resolution_service_url",
)
"""Fields of a client that make Keycloak call an address, or post something there."""


def client_profiles(
    redirects: Sequence[str], documents: Mapping[str, Publisher], *, local: bool
) -> list[dict[str, Any]]:
    """The rules for all that register, then those for documents; `redirects` are known beside loopback."""
    registered = [_PKCE, *_for_registered(redirects, exact=not documents)]
    found = [
        _profile(REGISTERED, "For persons only, PKCE S256, known addresses", registered),
        _profile(NO_DEVICE, "No device grant", [_executor("reject-request")]),
        _profile(NARROWED, "No exchange for more than the token has", [_executor(DOWNSCOPE)]),
    ]
    for name, publisher, http in _documents(documents, local=local):
        document = _executor(
            "client-id-metadata-document",
            {
                "cimd-allow-http-scheme": http,
                "cimd-allow-permitted-domains": list(publisher.names),
                "cimd-restrict-same-domain": False,
                "cimd-required-properties": [],
                "only-allow-confidential-client": False,
            },
        )
        found.append(_profile(name, "Client ID metadata documents", [document, _PKCE]))
    return found


def client_policies(documents: Mapping[str, Publisher], *, local: bool) -> list[dict[str, Any]]:
    """To whom those profiles apply."""
    sources = ["ByAnonymous", "ByInitialAccessToken", "ByRegistrationAccessToken"]
    registered = {"condition": "client-updater-context", "configuration": {"update-client-source": sources}}
    device, exchange = (
        {"condition": "grant-type", "configuration": {"grant_types": [grant]}}
        for grant in (DEVICE_GRANT, EXCHANGE_GRANT)
    )
    found = [
        _policy(REGISTERED, "Clients that register themselves", registered),
        # VS Code registers with this grant and does not use it: a registration with it is taken, a token is not given.
        _policy(NO_DEVICE, "A code that a person was sent proves nothing of who sent it", device),
        # Else whoever has the server's secret makes a token that may only read into one that may do everything.
        _policy(NARROWED, "An exchanged token holds no scope that the person did not grant", exchange),
    ]
    for name, publisher, http in _documents(documents, local=local):
        condition = {
            "condition": "client-id-uri",
            "configuration": {
                "client-id-uri-scheme": ["http" if http else "https"],
                "client-id-uri-allow-permitted-domains": list(LOOPBACK) if http else [publisher.host],
            },
        }
        found.append(_policy(name, "Client ID metadata documents", condition))
    return found


def _for_registered(redirects: Sequence[str], *, exact: bool) -> list[dict[str, Any]]:
    """Flows other than the code's are off, a secret is the only credential, and codes go where the realm knows."""
    return [
        _executor("reject-ropc-grant", {"auto-configure": True}),
        _executor("reject-implicit-grant", {"auto-configure": True}),
        # No keys of a client's own. Confidential clients may register: the Python SDK and Open WebUI name no method
        # when nothing is configured, and are given a secret.
        _executor(
            "secure-client-authenticator",
            {"allowed-client-authenticators": ["client-secret"], "default-client-authenticator": "client-secret"},
        ),
        *(_exact(redirects) if exact else [_hosts(redirects)]),
    ]


def _hosts(redirects: Sequence[str]) -> dict[str, Any]:
    """The host of a redirect alone, which is what Keycloak 26.7.4 can hold where documents are understood, too.

    A document is judged by the same policy as a registration, and the executor for whole addresses refuses every one.
    """
    return _executor(
        "secure-redirect-uris-enforcer",
        {
            "allow-ipv4-loopback-address": True,
            "allow-ipv6-loopback-address": True,
            "allow-private-use-uri-scheme": True,
            "allow-http-scheme": True,  # for `localhost`, which it does not count as loopback
            "allow-wildcard-context-path": False,
            "allow-open-redirect": False,
            "oauth-2-1-compliant": False,
            "allow-permitted-domains": [re.escape(host) for host in ("localhost", *hosts(redirects))],
        },
    )


def _exact(redirects: Sequence[str]) -> list[dict[str, Any]]:
    """Each address of a client, whole."""
    known = [re.escape(uri) for uri in redirects]
    origins = sorted({re.escape(one) for uri in redirects if (one := _origin(uri)).startswith("https://")})
    pages = [f"https://{re.escape(host)}(/.*)?" for host in PAGE_HOSTS]
    return [
        _addresses(["redirectUris"], [_HERE, *known]),
        _addresses(["webOrigins", "postLogoutRedirectUris"], [_HERE, r"\+", *origins]),
        # Shown on the consent page, where anybody's picture or link would speak for them.
        _addresses(["rootUrl", "baseUrl", "logoUri", "policyUri", "tosUri"], [_HERE, *pages]),
        _addresses(list(CALLED_BY_KEYCLOAK), []),
    ]


def _origin(uri: str) -> str:
    return "/".join(uri.split("/")[:3])


def _addresses(fields: list[str], patterns: list[str]) -> dict[str, Any]:
    """Each value of these fields must be, whole, one of the patterns."""
    return _executor(ADDRESSES, {"client-uri-fields": fields, "allowed-patterns": patterns})


def _executor(name: str, configuration: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"executor": name, "configuration": configuration or {}}


_PKCE: Final = _executor("pkce-enforcer", {"auto-configure": True})


def _profile(name: str, description: str, executors: list[dict[str, Any]]) -> dict[str, Any]:
    return {"name": name, "description": description, "executors": executors}


def _policy(name: str, description: str, condition: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "description": description,
        "enabled": True,
        "conditions": [condition],
        "profiles": [name],
    }


def _documents(documents: Mapping[str, Publisher], *, local: bool) -> list[tuple[str, Publisher, bool]]:
    """Name, publisher, whether over http; the lists of hosts are all that keeps Keycloak out of its own network.

    `local` is for development: whoever may name `http://localhost` makes Keycloak call services of its own machine.
    """
    found = [(f"mcp-documents-{name}", publisher, False) for name, publisher in documents.items()]
    if documents and local:
        found.append(("mcp-documents-local", Publisher("localhost", LOOPBACK), True))
    return found
