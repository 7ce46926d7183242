"""Who may register by itself: Keycloak's registration policies, and its client policies for ID metadata documents."""

import re
from collections.abc import Sequence
from typing import Any, Final

from devstack.realm.clients import INSPECTOR_ORIGINS

POLICY: Final = "org.keycloak.services.clientregistration.policy.ClientRegistrationPolicy"
MAX_CLIENTS: Final = 200
LOOPBACK: Final = ("127.0.0.1", "localhost")
REDIRECT_HOSTS: Final = (
    "vscode.dev",  # VS Code's own redirects, with the next one
    "insiders.vscode.dev",
    "anysphere.cursor-mcp",  # Cursor: cursor://anysphere.cursor-mcp/oauth/callback
)
PAGE_HOSTS: Final = ("github.com", "code.visualstudio.com", "opencode.ai")
"""What MCP Inspector, mcp-remote, VS Code and OpenCode name as `client_uri`. Keycloak keeps one list of hosts for pages
and for redirects; that a code does not go to these is the work of the redirect enforcer below."""
DOCUMENTS: Final = {
    "vscode": ("vscode.dev", ("vscode.dev", "*.vscode.dev", "code.visualstudio.com", *LOOPBACK)),
    "claude": ("claude.ai", ("claude.ai", *LOOPBACK)),
    "codex": ("chatgpt.com", ("chatgpt.com", *LOOPBACK)),
    "copilot": ("github.com", ("github.com", *LOOPBACK)),
    "zed": ("zed.dev", ("zed.dev", *LOOPBACK)),
    "opencode": ("opencode.ai", ("opencode.ai", *LOOPBACK)),
}
"""Whose client ID metadata documents are fetched, and the hosts that such a document may name."""


def policies(ours: Sequence[str]) -> list[dict[str, Any]]:
    """Every registration policy: a realm file that lists one has only those it lists."""
    scopes = {"allow-default-scopes": ["true"], "allowed-client-scopes": [*ours, "openid"]}
    origins = {"web-origins": list(INSPECTOR_ORIGINS)}
    # None: a mapper of a client's own writes what a person may edit into `sub`, `aud` or the roles of their token.
    # Keycloak's own list has such ones; it is harmless only where no stranger may register at all.
    mappers: dict[str, list[str]] = {"allowed-protocol-mapper-types": []}
    hosts = {
        "trusted-hosts": [*LOOPBACK, *REDIRECT_HOSTS, *PAGE_HOSTS],
        # Behind Docker or a proxy the sender is a gateway: where a code may go is what has to be judged.
        "host-sending-registration-request-must-match": ["false"],
        "client-uris-must-match": ["true"],
    }
    anonymous = [
        _policy("Trusted Hosts", "trusted-hosts", hosts),
        _policy("Consent Required", "consent-required", {}),
        _policy("Full Scope Disabled", "scope", {}),
        _policy("Max Clients Limit", "max-clients", {"max-clients": [str(MAX_CLIENTS)]}),
    ]
    both = [
        found
        for kind in ("anonymous", "authenticated")
        for found in (
            _policy("Allowed Client Scopes", "allowed-client-templates", scopes, kind),
            _policy("Allowed Protocol Mapper Types", "allowed-protocol-mappers", mappers, kind),
            _policy("Allowed Registration Web Origins", "registration-web-origins", origins, kind),
        )
    ]
    return anonymous + both


def _policy(name: str, provider: str, config: dict[str, list[str]], kind: str = "anonymous") -> dict[str, Any]:
    return {"name": name, "providerId": provider, "subType": kind, "subComponents": {}, "config": config}


def client_profiles(*, documents: bool, local: bool) -> list[dict[str, Any]]:
    """What a client must keep to: PKCE S256 for all that register; hosts for those that are documents."""
    pkce = {"executor": "pkce-enforcer", "configuration": {"auto-configure": True}}
    no_password = {"executor": "reject-ropc-grant", "configuration": {"auto-configure": True}}
    redirects = {
        "executor": "secure-redirect-uris-enforcer",
        "configuration": {
            "allow-ipv4-loopback-address": True,
            "allow-ipv6-loopback-address": True,
            "allow-private-use-uri-scheme": True,
            "allow-http-scheme": True,  # for `localhost`, which it does not count as loopback
            "allow-wildcard-context-path": False,
            "allow-open-redirect": False,
            "oauth-2-1-compliant": False,
            "allow-permitted-domains": [re.escape(host) for host in ("localhost", *REDIRECT_HOSTS)],
        },
    }
    enforced = [pkce, no_password, redirects]
    found = [{"name": "mcp-registered", "description": "PKCE S256, known redirect hosts", "executors": enforced}]
    for name, _, hosts, http in _documents(documents=documents, local=local):
        executor = {
            "executor": "client-id-metadata-document",
            "configuration": {
                "cimd-allow-http-scheme": http,
                "cimd-allow-permitted-domains": list(hosts),
                "cimd-restrict-same-domain": False,
                "cimd-required-properties": [],
                "only-allow-confidential-client": False,
            },
        }
        found.append({"name": name, "description": "Client ID metadata documents", "executors": [executor, pkce]})
    return found


def client_policies(*, documents: bool, local: bool) -> list[dict[str, Any]]:
    """To whom those profiles apply."""
    sources = ["ByAnonymous", "ByInitialAccessToken", "ByRegistrationAccessToken"]
    registered = {"condition": "client-updater-context", "configuration": {"update-client-source": sources}}
    found = [_client_policy("mcp-registered", "Clients that register themselves", registered)]
    for name, domains, _, http in _documents(documents=documents, local=local):
        condition = {
            "condition": "client-id-uri",
            "configuration": {
                "client-id-uri-scheme": ["http" if http else "https"],
                "client-id-uri-allow-permitted-domains": list(domains),
            },
        }
        found.append(_client_policy(name, "Client ID metadata documents", condition))
    return found


def _client_policy(name: str, description: str, condition: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "description": description,
        "enabled": True,
        "conditions": [condition],
        "profiles": [name],
    }


def _documents(*, documents: bool, local: bool) -> list[tuple[str, tuple[str, ...], tuple[str, ...], bool]]:
    """Name, where documents may lie, what they may name, whether over http; the lists are all that keeps Keycloak in.

    `local` is for development: whoever may name `http://localhost` makes Keycloak call services of its own machine.
    """
    if not documents:
        return []
    found = [(f"mcp-documents-{name}", (host,), hosts, False) for name, (host, hosts) in DOCUMENTS.items()]
    return [*found, *([("mcp-documents-local", LOOPBACK, LOOPBACK, True)] if local else [])]
