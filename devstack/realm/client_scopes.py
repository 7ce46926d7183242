"""Client scopes as Keycloak has them: the server's, its APIs' audiences, and those that Keycloak brings itself."""

from pathlib import Path
from typing import Any, Final

import msgspec

from devstack.realm.clients import RESOURCE
from devstack.realm.scopes import Api, Scope

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


def audience_scope(api: Api) -> dict[str, Any]:
    """What makes an API an audience that the server's client may ask for in a token exchange.

    `audience` only filters: a mapper must have added it before. It does not sit on the scopes that persons grant: every
    token for the MCP server would then be one for the API, too. By itself it gives nothing, and no token names it.
    """
    made = _hidden(_scope(Scope(api.audience_scope, ""), [_audience(f"{api.name} audience", api.name)]))
    made["description"] = f"Tokens for {api.name}, by exchange"
    made["attributes"] |= {"include.in.token.scope": "false", "display.on.consent.screen": "false"}
    return made


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
