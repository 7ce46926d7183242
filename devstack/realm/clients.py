"""The realm's own clients, users and roles, in Keycloak's representation."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from devstack.realm.placeholders import DEVELOPMENT, placeholder
from devstack.realm.scopes import Api, Scope

RESOURCE: Final = placeholder("MCP_RESOURCE_URL", "http://localhost:8000/mcp")
BACKCHANNEL: Final = placeholder("MCP_BACKCHANNEL_URL", "http://localhost:8000/mcp")
"""The MCP endpoint as Keycloak reaches it, which may be another address than clients have."""
TOLD: Final = {"backchannel.logout.url": f"{BACKCHANNEL}/backchannel-logout"}
"""Where the server hears that a login of a client is over (OpenID Connect Back-Channel Logout 1.0)."""
SERVER_SECRET: Final = f"{DEVELOPMENT}server-secret"
DEFAULT_SCOPES: Final = ("basic", "roles", "web-origins", "acr", "profile", "email")
ROLES: Final = {
    "reader": "May read through the MCP server",
    "writer": "May read and change things through the MCP server",
    "admin": "May do everything through the MCP server",
}
INSPECTOR_ORIGINS: Final = ("http://localhost:6274", "http://127.0.0.1:6274")
LOOPBACK_REDIRECTS: Final = tuple(
    f"http://{host}{path}"
    for host in ("127.0.0.1", "localhost", "[::1]")
    for path in ("/callback", "/oauth/callback", "/oauth/callback/debug", "/mcp/oauth/callback", "/")
)
"""Without a port: Keycloak then takes any port, on that host and path alone (RFC 8252 §7.3)."""


def clients(
    ours: Sequence[str], redirects: Sequence[str], apis: Sequence[Api], own: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """The public one, the service account, the MCP server itself, the APIs that it calls.

    `ours` are the MCP server's scopes; `redirects` are the public one's, beside loopback. `own` are the scopes that the
    MCP server asks for in its own name, None where it does not.
    """
    exchanged = dict.fromkeys([*(scope for api in apis for scope in api.scopes or ours), *(own or ())])
    return [
        _client(
            "mcp-public",
            name="MCP desktop client",
            publicClient=True,
            standardFlowEnabled=True,
            # Any program on a person's machine may say that it is this client: without a page, a person who is logged
            # in would give a code to whatever opens an address (RFC 8252 §8.6, RFC 6749 §10.2). Keycloak remembers the
            # consent; a session alone is acr 0, so each authorization asks for the person anew, `prompt=none` fails.
            consentRequired=True,
            redirectUris=[*LOOPBACK_REDIRECTS, *redirects],
            webOrigins=list(INSPECTOR_ORIGINS),
            attributes={"pkce.code.challenge.method": "S256", "minimum.acr.value": "1", **TOLD},
            optionalClientScopes=list(ours),
        ),
        _client(
            "mcp-agent",
            name="Service account",
            secret=placeholder("MCP_AGENT_SECRET", f"{DEVELOPMENT}agent-secret"),
            serviceAccountsEnabled=True,
            # Without a refresh token Keycloak 26.7.4 answers 500 when such a client sends `resource`.
            attributes={"client_credentials.use_refresh_token": "true"},
            defaultClientScopes=[*DEFAULT_SCOPES, "service_account"],
            optionalClientScopes=list(ours),
        ),
        _client(
            RESOURCE,
            name="The MCP server",
            secret=placeholder("MCP_SERVER_SECRET", SERVER_SECRET),
            # The client id is the resource URL, so that `aud` is the same with and without `resource`, and
            # introspection and token exchange know this client in it.
            attributes={"resource_url": RESOURCE, "standard.token.exchange.enabled": "true", **TOLD},
            serviceAccountsEnabled=own is not None,
            defaultClientScopes=["basic", "roles", "acr", *(api.audience_scope for api in apis)],
            optionalClientScopes=list(exchanged),
        ),
        # An audience is a client of the realm; one that asks for nothing has no secret that could be lost.
        *(
            _client(api.name, name=f"The API {api.name}", bearerOnly=True, defaultClientScopes=["basic", "roles"])
            for api in apis
        ),
    ]


_USUAL: Final = {
    "post.logout.redirect.uris": "+",
    "backchannel.logout.session.required": "true",
    "backchannel.logout.revoke.offline.tokens": "false",
}
"""Import and Admin API each add other ones of these: said here, both ways end alike."""


def _client(client_id: str, *, attributes: Mapping[str, str] = _USUAL, **more: Any) -> dict[str, Any]:
    secret = {} if more.get("publicClient") or more.get("bearerOnly") else {"clientAuthenticatorType": "client-secret"}
    # What is pushed to the server's own client counts for the tokens of all: the realm's not-before, a logout of all.
    pushed = {} if more.get("bearerOnly") else {"adminUrl": BACKCHANNEL}
    return {
        "clientId": client_id,
        "protocol": "openid-connect",
        "enabled": True,
        "publicClient": False,
        "standardFlowEnabled": False,
        "implicitFlowEnabled": False,
        "directAccessGrantsEnabled": False,
        "serviceAccountsEnabled": False,
        "fullScopeAllowed": False,
        "consentRequired": False,
        "redirectUris": [],
        "webOrigins": [],
        "attributes": {**_USUAL, **attributes},
        "defaultClientScopes": list(DEFAULT_SCOPES),
        "optionalClientScopes": [],
        **secret,
        **pushed,
        **more,
    }


def service_accounts(realm: str, scopes: Sequence[Scope], own: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """The users behind `mcp-agent` and, where it asks for tokens of its own, the MCP server, with their roles."""
    held = {"mcp-agent": ["reader"]} | ({} if own is None else {RESOURCE: least_roles(scopes, own)})
    return [
        {
            "username": f"service-account-{client}",
            "enabled": True,
            "serviceAccountClientId": client,
            "realmRoles": [f"default-roles-{realm}", *roles],
        }
        for client, roles in held.items()
    ]


def least_roles(scopes: Sequence[Scope], wanted: Sequence[str]) -> list[str]:
    """A role for each wanted scope, of those that gate it the one that opens the fewest."""
    opened = Counter(role for one in scopes for role in one.roles)
    found: list[str] = []
    for one in scopes:
        if one.name in wanted and one.roles and not {*one.roles} & {*found}:
            found.append(min(one.roles, key=lambda role: opened[role]))
    return found


ONE_TIME_SECRET: Final = f"{DEVELOPMENT}one-time-code"
"""What the one-time codes of alice, bob and carol are made of (`devstack.login.one_time_code`)."""
_ONE_TIME: Final = {
    "type": "otp",
    "userLabel": "development",
    "secretData": f'{{"value":"{ONE_TIME_SECRET}"}}',
    "credentialData": '{"subType":"totp","digits":6,"period":30,"algorithm":"HmacSHA1","counter":0}',
}


def people(realm: str, everyones: Sequence[str] = (), others: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Alice, bob and carol, for development: the password is the name, the second factor a code that everyone knows.

    Each has the roles `everyones` besides, and carol, who may do everything, the `others` that a server's scopes name:
    a role that nobody has would leave its tools to nobody.
    """
    held = {"alice": ["reader"], "bob": ["reader", "writer"], "carol": ["reader", "writer", "admin", *others]}
    return [
        {
            "username": name,
            "enabled": True,
            "email": f"{name}@example.com",
            "emailVerified": True,
            "firstName": name.capitalize(),
            "lastName": "Example",
            "credentials": [
                {"type": "password", "value": placeholder(f"MCP_{name.upper()}_PASSWORD", name), "temporary": False},
                _ONE_TIME,
            ],
            "realmRoles": [f"default-roles-{realm}", *roles, *everyones],
        }
        for name, roles in held.items()
    ]
