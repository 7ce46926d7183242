"""Client scopes in Keycloak's representation: the server's, the REST API's, and those that Keycloak brings itself."""

from pathlib import Path
from typing import Any, Final

import msgspec

from devstack.realm.clients import RESOURCE, REST_API
from devstack.realm.scopes import Scope

PUBLISHED: Final = frozenset({"profile", "email"})
"""Of Keycloak's own scopes those that its metadata names. Clients ask for what stands there: Gemini CLI registers with
all of it and is refused for one that it may not have; almost every client asks for `offline_access`."""
METADATA: Final = "include.in.openid.provider.metadata"


def built_in() -> list[dict[str, Any]]:
    """Keycloak 26.7.4's own: a realm file that lists scopes gets no others, not even the one that maps `sub`."""
    found: list[dict[str, Any]] = msgspec.json.decode((Path(__file__).parent / "builtin_scopes.json").read_bytes())
    return [one if one["name"] in PUBLISHED else _hidden(one) for one in found]


def _hidden(scope: dict[str, Any]) -> dict[str, Any]:
    return {**scope, "attributes": {**scope.get("attributes", {}), METADATA: "false"}}


def mcp_scope(scope: Scope, place: int) -> dict[str, Any]:
    """A scope of the MCP server: audience and roles come with it; `place` is its row on the consent page.

    The mappers sit on each scope and not on a default one: a client that registers itself with a `scope` gets no
    default scopes but `basic`.
    """
    mappers = [
        _audience("mcp-server audience", RESOURCE),
        _roles("realm roles", "oidc-usermodel-realm-role-mapper", "realm_access.roles"),
        _roles("client roles", "oidc-usermodel-client-role-mapper", "resource_access.${client_id}.roles"),
        _username(),
    ]
    made = _scope(scope, mappers)
    made["attributes"]["gui.order"] = str(place)
    return made


def rest_scope(scope: Scope) -> dict[str, Any]:
    """A scope of the REST API, which the MCP server asks for in a token exchange."""
    return _hidden(_scope(scope, [_audience("rest-api audience", REST_API), _username()]))


def gates(scopes: tuple[Scope, ...]) -> list[dict[str, Any]]:
    """The realm roles of which one is needed, for each scope."""
    return [{"clientScope": one.name, "roles": list(one.roles)} for one in scopes]


def _scope(scope: Scope, mappers: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": scope.name,
        "description": scope.consent,
        "protocol": "openid-connect",
        "attributes": {
            "include.in.token.scope": "true",
            "display.on.consent.screen": "true",
            "consent.screen.text": scope.consent,
            METADATA: "true",
        },
        "protocolMappers": mappers,
    }


def _mapper(name: str, kind: str, config: dict[str, str]) -> dict[str, Any]:
    return {
        "name": name,
        "protocol": "openid-connect",
        "protocolMapper": kind,
        "consentRequired": False,
        "config": {"access.token.claim": "true", **config},
    }


def _audience(name: str, client_id: str) -> dict[str, Any]:
    quiet = dict.fromkeys(("id.token.claim", "introspection.token.claim", "lightweight.claim"), "false")
    return _mapper(name, "oidc-audience-mapper", {"included.client.audience": client_id, **quiet})


def _roles(name: str, kind: str, claim: str) -> dict[str, Any]:
    quiet = dict.fromkeys(("id.token.claim", "userinfo.token.claim", "lightweight.claim"), "false")
    shape = {"claim.name": claim, "multivalued": "true", "jsonType.label": "String"}
    return _mapper(name, kind, {"introspection.token.claim": "true", **quiet, **shape})


def _username() -> dict[str, Any]:
    everywhere = dict.fromkeys(("id.token.claim", "introspection.token.claim", "userinfo.token.claim"), "true")
    shape = {"user.attribute": "username", "claim.name": "preferred_username", "jsonType.label": "String"}
    return _mapper("username", "oidc-usermodel-attribute-mapper", {**everywhere, **shape})
