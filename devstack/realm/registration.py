"""Who may register by itself: Keycloak's registration policies."""

from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from devstack.realm.clients import INSPECTOR_ORIGINS
from devstack.realm.products import LOOPBACK

POLICY: Final = "org.keycloak.services.clientregistration.policy.ClientRegistrationPolicy"
SENDERS: Final = "trusted-hosts"
"""Who may register at all, and where its addresses may be."""
MAX_CLIENTS: Final = 2000
"""More than anybody can register while one that is never used lives: the rate is the proxy's
(`nginx/keycloak.conf.template`), the life is `prune`'s. A test holds the three together."""
PAGE_HOSTS: Final = ("github.com", "code.visualstudio.com", "opencode.ai")
"""What MCP Inspector, mcp-remote, VS Code and OpenCode name as `client_uri`. Keycloak keeps one list of hosts for pages
and for redirects; that a code does not go to these is the work of the patterns in `client_policies`."""


def policies(ours: Sequence[str], redirects: Sequence[str]) -> list[dict[str, Any]]:
    """Every registration policy: a realm file that lists one has only those it lists."""
    scopes = {"allow-default-scopes": ["true"], "allowed-client-scopes": [*ours, "openid"]}
    origins = {"web-origins": list(INSPECTOR_ORIGINS)}
    # None: a mapper of a client's own writes what a person may edit into `sub`, `aud` or the roles of their token.
    # Keycloak's own list has such ones; it is harmless only where registration is closed.
    mappers: dict[str, list[str]] = {"allowed-protocol-mapper-types": []}
    trusted = {
        "trusted-hosts": list(dict.fromkeys((*LOOPBACK, *hosts(redirects), *PAGE_HOSTS))),
        # Behind Docker or a proxy the sender is a gateway: where a code may go is what has to be judged.
        "host-sending-registration-request-must-match": ["false"],
        "client-uris-must-match": ["true"],
    }
    anonymous = [
        _policy("Trusted Hosts", SENDERS, trusted),
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


def hosts(redirects: Sequence[str]) -> list[str]:
    """Where these redirects go, each once."""
    return list(dict.fromkeys(urlsplit(one).netloc for one in redirects))


def _policy(name: str, provider: str, config: dict[str, list[str]], kind: str = "anonymous") -> dict[str, Any]:
    return {"name": name, "providerId": provider, "subType": kind, "subComponents": {}, "config": config}
