"""The realm `mcp`, whole, in Keycloak's representation: what an import reads and `apply` brings about.

Facts about Keycloak 26.7.4 that shape it: `docs/keycloak.md` tells each with its reason.
"""

from functools import partial
from itertools import count
from typing import Any, Final

import msgspec

from devstack.realm import client_policies, registration, step_up
from devstack.realm.client_scopes import audience_scope, built_in, gates, mcp_scope, refuse_reserved
from devstack.realm.clients import ROLES, clients, people, service_accounts
from devstack.realm.placeholders import placeholder
from devstack.realm.products import EDITOR_REDIRECTS, publishers
from devstack.realm.scopes import Api, Scope, gated

REALM: Final = "mcp"
KEYS: Final = "org.keycloak.keys.KeyProvider"
HOUR_S: Final = 3600


LIFETIMES: Final = {
    # Claude Code and Gemini CLI refresh when five minutes or less are left: at 300 s before every request, and what
    # they then do at once in parallel ends the session (the reuse of a refresh token does).
    "accessTokenLifespan": 900,
    # A person logs in once a working day: eight hours without a request, twelve in all.
    "ssoSessionIdleTimeout": 8 * HOUR_S,
    "ssoSessionMaxLifespan": 12 * HOUR_S,
    # No client of this file may ask for `offline_access`; where an operator allows one, it ends as well.
    "offlineSessionIdleTimeout": 14 * 24 * HOUR_S,
    "offlineSessionMaxLifespanEnabled": True,
    "offlineSessionMaxLifespan": 30 * 24 * HOUR_S,
    "revokeRefreshToken": True,
    "refreshTokenMaxReuse": 0,
}

ATTRIBUTES: Final = {"adminEventsExpiration": str(90 * 24 * HOUR_S)}
EVENTS: Final = {
    # Who logged in, by which client, and who changed what; 90 days, for an inquiry and for `devstack realm prune`.
    "eventsEnabled": True,
    "eventsExpiration": 90 * 24 * HOUR_S,
    "adminEventsEnabled": True,
    "adminEventsDetailsEnabled": False,  # what was changed may hold secrets
    "attributes": ATTRIBUTES,
}
PASSWORDS: Final = {
    # NIST SP 800-63B: length counts, not kinds of characters. Ten tries where Keycloak's own number is 30.
    "passwordPolicy": "length(12) and notUsername(undefined) and notEmail(undefined)",
    "failureFactor": 10,
    "waitIncrementSeconds": 60,
    "maxFailureWaitSeconds": 900,
    "maxDeltaTimeSeconds": 12 * HOUR_S,
}
"""In production alone: in development the password is the name."""


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """What a realm is for: `documents` needs the feature `cimd`; `development` brings people and http documents.

    `redirects` and `publishers` (hosts of documents) are let in beside those that always are. `parameters` needs the
    feature `parameterized-scopes`. `step_up` replaces the browser's flow, and development always has it. `apis` are
    called with exchanged tokens. `own` are the scopes that the server asks for in its own name, None where it does not.
    """

    documents: bool = True
    development: bool = True
    parameters: bool = False
    step_up: bool = False
    redirects: tuple[str, ...] = ()
    publishers: tuple[str, ...] = ()
    apis: tuple[Api, ...] = ()
    own: tuple[str, ...] | None = None


def describe(scopes: tuple[Scope, ...], variant: Variant | None = None, realm: str = REALM) -> dict[str, Any]:
    """The realm for the scopes of a server; secrets are placeholders whose defaults are for development only.

    Raises `NoScopes` for a scope that the realm has itself.
    """
    variant = variant or Variant()
    refuse_reserved(scopes, variant.apis, realm)
    generated = [one.name for one in scopes if not one.roles]
    scopes = gated(scopes)
    ours = [one.name for one in scopes]
    redirects = (*EDITOR_REDIRECTS, *variant.redirects)
    documents = publishers(variant.publishers) if variant.documents else {}
    # With documents Keycloak holds a registration to hosts alone: a product's redirect is then mcp-public's, exactly.
    registrable = EDITOR_REDIRECTS if documents else redirects
    own = clients(ours, redirects, variant.apis, variant.own)
    if not variant.development:
        own = [{**one, "secret": _without_default(one["secret"])} if "secret" in one else one for one in own]
    made = partial(mcp_scope, parameters=variant.parameters)
    others = [role for role in _roles(scopes) if role not in ROLES and role not in generated]
    everyone = people(realm, generated, others) if variant.development else []
    return {
        "realm": realm,
        "displayName": "MCP",
        "enabled": True,
        "sslRequired": placeholder("MCP_SSL_REQUIRED", "none") if variant.development else "external",
        "registrationAllowed": False,
        "bruteForceProtected": True,
        **EVENTS,
        **({} if variant.development else PASSWORDS),
        **_login(variant),
        "defaultSignatureAlgorithm": "RS256",
        **LIFETIMES,
        "roles": {"realm": [{"name": name, "description": text} for name, text in _roles(scopes).items()]},
        "clientScopes": [*built_in(), *map(made, scopes, count(1)), *map(audience_scope, variant.apis)],
        "defaultDefaultClientScopes": [
            *("role_list", "saml_organization", "AuthnContextClassRef"),
            *("profile", "email", "roles", "web-origins", "acr", "basic"),
        ],
        "defaultOptionalClientScopes": ["address", "phone", "microprofile-jwt", "organization", *ours],
        "scopeMappings": [{"clientScope": "offline_access", "roles": ["offline_access"]}, *gates(scopes)],
        "clients": own,
        "users": [*service_accounts(realm, scopes, variant.own), *everyone],
        "components": {registration.POLICY: registration.policies(ours, registrable), KEYS: _keys()},
        "clientProfiles": {
            "profiles": client_policies.client_profiles(registrable, documents, local=variant.development)
        },
        "clientPolicies": {"policies": client_policies.client_policies(documents, local=variant.development)},
    }


def _login(variant: Variant) -> dict[str, Any]:
    """How persons log in, where that is not Keycloak's own way."""
    if not (variant.step_up or variant.development):
        return {}
    attributes = {**ATTRIBUTES, **step_up.attributes()}
    return {**step_up.fields(development=variant.development), "attributes": attributes}


def _without_default(secret: str) -> str:
    """A placeholder that must be filled: Keycloak leaves one without value and default as it stands."""
    return secret.partition(":")[0] + "}"


def _roles(scopes: tuple[Scope, ...]) -> dict[str, str]:
    """Ours, and whatever else a scope is gated by."""
    theirs = {role: f"May have {scope.name}" for scope in scopes for role in scope.roles if role not in ROLES}
    return {**ROLES, **theirs}


def _keys() -> list[dict[str, Any]]:
    """Every provider of keys: a realm file that names one has only those it names."""
    return [
        _key("rsa-generated", "rsa-generated"),
        _key("ecdsa-generated", "ecdsa-generated", ecdsaEllipticCurveKey="P-256"),
        _key("rsa-enc-generated", "rsa-enc-generated", algorithm="RSA-OAEP"),
        _key("hmac-generated-hs512", "hmac-generated", algorithm="HS512"),
        _key("aes-generated", "aes-generated"),
    ]


def _key(name: str, provider: str, **config: str) -> dict[str, Any]:
    values = {"priority": "100", **config}
    return {
        "name": name,
        "providerId": provider,
        "subComponents": {},
        "config": {name: [value] for name, value in values.items()},
    }


def rendered(document: dict[str, Any]) -> bytes:
    """The file's bytes."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"
