"""Client scopes as Keycloak has them: the server's, its APIs' audiences, and those that Keycloak brings itself."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from devstack.realm.clients import RESOURCE
from devstack.realm.scopes import Api, NoScopes, Scope

PUBLISHED: Final = frozenset({"profile", "email"})
"""Of Keycloak's own scopes those that its metadata names. Clients ask for what stands there: Gemini CLI registers with
all of it and is refused for one that it may not have; almost every client asks for `offline_access`."""
METADATA: Final = "include.in.openid.provider.metadata"
PARAMETERS: Final = "parameterized-scopes"
"""Keycloak's experimental feature: scopes with a parameter, `orders:refund:42`.

The client scope is what stands before the first variable; a colon and the parameter come after it. With the feature
Keycloak knows no more of it: who asks for `orders:refund` alone gets `invalid_scope` (seen on 26.7.4).
"""
MARK: Final = "is.parameterized.scope"
PATTERN: Final = "parameterized.scope.regexp"
VALUE: Final = "[A-Za-z0-9._~%-]+"
"""What `mcp_server` makes of a value, percent-encoded: no colon, blank or quote is left in it, so that it is never
another scope's. Keycloak's Admin API refuses an expression that repeats a group; its import takes one (both seen)."""
MAX_SCOPE: Final = 255
RESERVED: Final = frozenset({
    *("AuthnContextClassRef", "acr", "address", "basic", "email", "microprofile-jwt", "offline_access", "openid"),
    *("organization", "phone", "profile", "role_list", "roles", "saml_organization", "service_account", "web-origins"),
    "uma_authorization",
})  # fmt: skip
"""The client scopes that Keycloak brings itself, what asks for an ID token, and roles that everybody has: a scope of
ours is gated by the role of its name."""
_VARIABLE: Final = re.compile(r"\{[^{}]+\}")


def built_in() -> list[dict[str, Any]]:
    """Keycloak 26.7.4's own: a realm file that lists scopes gets no others, not even the one that maps `sub`."""
    found: list[dict[str, Any]] = msgspec.json.decode((Path(__file__).parent / "builtin_scopes.json").read_bytes())
    return [one if one["name"] in PUBLISHED else _hidden(one) for one in found]


def refuse_reserved(scopes: Sequence[Scope], apis: Sequence[Api], realm: str) -> None:
    """Raise `NoScopes` for a name that the realm has for something else.

    A document names its scopes as it likes. Two client scopes of one name are one: Keycloak's, which is everybody's,
    or an API's audience, with which any client could ask for tokens for that API.
    """
    taken = {*RESERVED, f"default-roles-{realm}", *(one.audience_scope for one in apis)}
    if found := sorted(taken & {one.name for one in scopes}):
        raise NoScopes(
            f"scope {', '.join(found)}: the realm has that name for something of its own. The server needs another "
            "name for it; for a scope of an API's document [apis.NAME.scopes] in mcp.toml says which"
        )


def _hidden(scope: dict[str, Any]) -> dict[str, Any]:
    return {**scope, "attributes": {**scope.get("attributes", {}), METADATA: "false"}}


def mcp_scope(scope: Scope, place: int, *, parameters: bool = False) -> dict[str, Any]:
    """A scope of the MCP server: audience and roles come with it; `place` is its row on the consent page.

    The mappers sit on each scope and not on a default one: a client that registers itself with a `scope` gets no
    default scopes but `basic`. `parameters` is whether Keycloak knows scopes that have one.
    """
    mappers = [
        _audience("mcp-server audience", RESOURCE),
        _roles("realm roles", "oidc-usermodel-realm-role-mapper", "realm_access.roles"),
        _roles("client roles", "oidc-usermodel-client-role-mapper", "resource_access.${client_id}.roles"),
        _username(),
        # Without it such a client's tokens never say how the person logged in, and step-up would not end.
        _mapper("acr loa level", "oidc-acr-mapper", {"id.token.claim": "true", "introspection.token.claim": "true"}),
    ]
    made = _scope(scope, mappers)
    made["attributes"]["gui.order"] = str(place)
    if scope.patterns:  # said in both cases, so that `apply` brings one about out of the other
        made["attributes"][MARK] = str(parameters).lower()
    if scope.patterns and parameters:
        made["attributes"] |= parameter_attributes(scope.name, scope.patterns)
        made["attributes"]["consent.screen.text"] = consent_text(scope.consent)
    return made


def parameter_attributes(base: str, patterns: Sequence[str]) -> dict[str, str]:
    """What a client scope with a parameter needs to know of it; `patterns` are those of it, whole.

    It is not in the issuer's metadata: some clients ask for all that stands there, and without a parameter they would
    get nothing at all.
    """
    tails = [one.removeprefix(f"{base}:") for one in patterns]
    return {
        "parameterized.scope.type": "custom",
        PATTERN: "|".join(dict.fromkeys(map(_expression, tails))),
        METADATA: "false",
    }


def _expression(tail: str) -> str:
    parts = _VARIABLE.split(tail)
    return VALUE.join(map(re.escape, parts))


def consent_text(text: str) -> str:
    """The text with the parameter behind it: without a place for it the page would not show it (theme keycloak.v2).

    It is one of `java.text.MessageFormat`: a quote is doubled, a brace stands in quotes.
    """
    quoted = text.replace("'", "''").replace("{", "'{'").replace("}", "'}'")
    return f"{quoted}: {{0}}"


def shown(text: str, parameter: str) -> str:
    """What such a text says of a parameter, on a page of ours."""
    marks = {"''": "'", "'{'": "{", "'}'": "}", "{0}": parameter}
    return re.sub(r"''|'[{}]'|\{0\}", lambda found: marks[found[0]], text)


def expression_of(attributes: Mapping[str, Any]) -> str:
    """What a parameter must match, of a client scope's attributes; empty where it takes none."""
    return str(attributes.get(PATTERN, "")) if attributes.get(MARK) == "true" else ""


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
