"""The realm as the embedded authorization server wants it: read from the very file that Keycloak imports."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from devstack.realm import client_scopes
from devstack.realm.client_policies import DOWNSCOPE
from devstack.realm.placeholders import resolve
from devstack.realm.registration import POLICY

RESOURCE: Final = "http://localhost:8000/mcp"
FEATURES: Final = ("cimd",)
"""Resource indicators stay off: Keycloak 26.7.4 answers 500 to three rightful requests when they are on."""
ISSUER: Final = "http://localhost:8180/realms/mcp"
PROTOCOL: Final = "openid-connect"
REALM_FILE: Final = Path(__file__).parents[1] / "keycloak" / "realm.json"


class Scope(msgspec.Struct, frozen=True):
    """A client scope: its consent text, the roles of which one is needed (none: it is everyone's), its audience.

    `in_metadata` says whether the issuer's `scopes_supported` names it. `parameter` is what must come after it and a
    colon, a regular expression; empty where the scope stands for itself alone.
    """

    name: str
    consent: str
    roles: frozenset[str] = frozenset()
    audience: str | None = None
    in_token: bool = True
    in_metadata: bool = True
    parameter: str = ""


class User(msgspec.Struct, frozen=True):
    """A person who can log in."""

    username: str
    roles: tuple[str, ...]
    password: str = ""
    email: str = ""
    one_time_secret: str = ""


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """A registered client; `secret` None makes it public, `redirect_uris` without a port match any port.

    `scopes` are those it may ask for; `default_scopes` come unasked; `origins` may read its tokens in a browser.
    """

    client_id: str
    secret: str | None = None
    redirect_uris: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    default_scopes: tuple[str, ...] = ()
    grants: tuple[str, ...] = ("authorization_code", "refresh_token")
    origins: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    consent: bool = False
    fresh_login: bool = False
    """A session alone is not enough for it: each authorization asks for the person anew, and `prompt=none` fails."""
    name: str = ""
    exchange: bool = False
    """It may exchange tokens that are meant for it (RFC 8693)."""
    logout_url: str = ""
    """Where it is told that a login is over."""


class Registration(msgspec.Struct, frozen=True, kw_only=True):
    """Who may register: hosts of redirects, hosts of pages, scopes, origins, how many; `documents` per host."""

    hosts: frozenset[str]
    redirect_hosts: frozenset[str]
    scopes: frozenset[str]
    origins: frozenset[str]
    max_clients: int
    documents: Mapping[str, frozenset[str]]
    """Where a client ID metadata document may lie (`scheme://host`) and the hosts that it may name."""


class Realm(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the authorization server knows at start."""

    issuer: str
    resource: str
    scopes: tuple[Scope, ...]
    default_scopes: tuple[str, ...]
    optional_scopes: tuple[str, ...]
    users: tuple[User, ...]
    clients: tuple[Client, ...]
    registration: Registration
    access_token_s: int
    refresh_token_s: int = 1800
    """How long a refresh token is good for: as long as the session may be idle."""
    downscope: bool = False
    """An exchange may ask for no scope that the token does not have."""
    features: frozenset[str] = frozenset()
    """Keycloak's experimental ones: `cimd`, `resource-indicators`, `parameterized-scopes`."""

    def scope(self, name: str) -> Scope | None:
        """The scope of that name; one with a parameter is known by none without, and bears the name it is asked by."""
        found = self.registered(name)
        if found is None or not found.parameter:
            return found
        text = client_scopes.shown(found.consent, name.removeprefix(f"{found.name}:"))
        return msgspec.structs.replace(found, name=name, consent=text)

    def registered(self, name: str) -> Scope | None:
        """The scope that a client must have to ask for one of that name; of several that begin it, the longest."""
        if len(name) > client_scopes.MAX_SCOPE:
            return None
        return max((one for one in self.scopes if _stands_for(one, name)), key=_length, default=None)


def _length(scope: Scope) -> int:
    return len(scope.name)


def _stands_for(scope: Scope, name: str) -> bool:
    if not scope.parameter:
        return scope.name == name
    start = f"{scope.name}:"
    return name.startswith(start) and re.fullmatch(scope.parameter, name.removeprefix(start)) is not None


def read(
    issuer: str = ISSUER,
    resource: str = RESOURCE,
    features: tuple[str, ...] = FEATURES,
    environment: Mapping[str, str] | None = None,
    *,
    file: Path = REALM_FILE,
) -> Realm:
    """The realm of a file, for an issuer and the MCP endpoint it protects; `environment` fills its placeholders."""
    known = os.environ if environment is None else environment
    given = {"MCP_BACKCHANNEL_URL": resource, **known, "MCP_RESOURCE_URL": resource}
    document = resolve(msgspec.json.decode(file.read_bytes()), given)
    gates = {one["clientScope"]: frozenset(one["roles"]) for one in document["scopeMappings"]}
    # A realm's defaults are for clients of every protocol: one of OpenID Connect gets those of its own alone.
    scopes = [one for one in document["clientScopes"] if one["protocol"] == PROTOCOL]
    ours = {one["name"] for one in scopes}
    accounts = {one["serviceAccountClientId"]: one for one in document["users"] if "serviceAccountClientId" in one}
    return Realm(
        issuer=issuer,
        resource=resource,
        scopes=(
            Scope("openid", "Know that it is you"),
            *(
                _scope(one, gates.get(one["name"], frozenset()), parameters=client_scopes.PARAMETERS in features)
                for one in scopes
            ),
        ),
        default_scopes=tuple(one for one in document["defaultDefaultClientScopes"] if one in ours),
        optional_scopes=tuple(one for one in document["defaultOptionalClientScopes"] if one in ours),
        users=tuple(_user(one) for one in document["users"] if "credentials" in one),
        clients=tuple(_client(one, accounts.get(one["clientId"])) for one in document["clients"]),
        registration=_registration(document),
        access_token_s=document["accessTokenLifespan"],
        refresh_token_s=document["ssoSessionIdleTimeout"],
        downscope=any(
            one["executor"] == DOWNSCOPE for kept in document["clientProfiles"]["profiles"] for one in kept["executors"]
        ),
        features=frozenset(features),
    )


_TEXTS: Final = {
    "${profileScopeConsentText}": "See your user profile",
    "${emailScopeConsentText}": "See your email address",
    "${offlineAccessScopeConsentText}": "Stay connected while you are away",
    "${rolesScopeConsentText}": "See your roles",
    "${addressScopeConsentText}": "See your address",
    "${phoneScopeConsentText}": "See your phone number",
    "${organizationScopeConsentText}": "See your organization",
}
"""Keycloak's own texts stand in the file by their names in its message bundles."""


def _scope(found: dict[str, Any], gate: frozenset[str], *, parameters: bool) -> Scope:
    attributes = found.get("attributes", {})
    shown = attributes.get("display.on.consent.screen") == "true"
    text = attributes.get("consent.screen.text", "") if shown else ""
    audiences = [
        one["config"]["included.client.audience"]
        for one in found.get("protocolMappers", [])
        if one["protocolMapper"] == "oidc-audience-mapper"
    ]
    # offline_access is gated by a role that every user has
    roles = gate - {"offline_access"}
    in_token = attributes.get("include.in.token.scope") != "false"
    return Scope(
        name=found["name"],
        consent=_TEXTS.get(text, text),
        roles=roles,
        audience=audiences[0] if audiences else None,
        in_token=in_token,
        in_metadata=attributes.get(client_scopes.METADATA) != "false",
        parameter=client_scopes.expression_of(attributes) if parameters else "",
    )


def _user(found: dict[str, Any]) -> User:
    roles = tuple(one for one in found["realmRoles"] if not one.startswith("default-roles-"))
    secrets = {one["type"]: one for one in found["credentials"]}
    code = msgspec.json.decode(secrets["otp"]["secretData"])["value"] if "otp" in secrets else ""
    return User(
        username=found["username"],
        roles=roles,
        password=secrets["password"]["value"],
        email=found["email"],
        one_time_secret=code,
    )


def _client(found: dict[str, Any], account: dict[str, Any] | None) -> Client:
    code = ("authorization_code", "refresh_token") if found["standardFlowEnabled"] else ()
    return Client(
        client_id=found["clientId"],
        secret=found.get("secret"),
        redirect_uris=tuple(found["redirectUris"]),
        scopes=tuple(found["optionalClientScopes"]),
        default_scopes=tuple(found["defaultClientScopes"]),
        grants=(*code, *(("client_credentials",) if found["serviceAccountsEnabled"] else ())),
        origins=tuple(found["webOrigins"]),
        roles=tuple(one for one in (account or {}).get("realmRoles", ()) if not one.startswith("default-roles-")),
        consent=found["consentRequired"],
        fresh_login=found["attributes"].get("minimum.acr.value") == "1",
        name=found["name"],
        exchange=found["attributes"].get("standard.token.exchange.enabled") == "true",
        logout_url=found["attributes"].get("backchannel.logout.url", ""),
    )


def _registration(document: dict[str, Any]) -> Registration:
    policies = {one["providerId"]: one["config"] for one in document["components"][POLICY]}
    profiles = {one["name"]: one["executors"] for one in document["clientProfiles"]["profiles"]}
    # A realm without documents knows whole addresses and no host: only loopback may be registered there then.
    allowed = [
        host.replace("\\", "")
        for one in profiles["mcp-registered"]
        if one["executor"] == "secure-redirect-uris-enforcer"
        for host in one["configuration"]["allow-permitted-domains"]
    ]
    documents = {}
    for policy in document["clientPolicies"]["policies"]:
        condition = policy["conditions"][0]
        if condition["condition"] != "client-id-uri":
            continue
        (scheme,) = condition["configuration"]["client-id-uri-scheme"]
        executor = profiles[policy["profiles"][0]][0]["configuration"]
        hosts = frozenset(executor["cimd-allow-permitted-domains"])
        for host in condition["configuration"]["client-id-uri-allow-permitted-domains"]:
            documents[f"{scheme}://{host}"] = hosts
    return Registration(
        hosts=frozenset(policies["trusted-hosts"]["trusted-hosts"]),
        redirect_hosts=frozenset({*allowed, "localhost", "127.0.0.1", "[::1]"}),
        scopes=frozenset(policies["allowed-client-templates"]["allowed-client-scopes"]),
        origins=frozenset(policies["registration-web-origins"]["web-origins"]),
        max_clients=int(policies["max-clients"]["max-clients"][0]),
        documents=documents,
    )
