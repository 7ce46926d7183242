"""Clients that register themselves: RFC 7591 with Keycloak's policies."""

import secrets
from typing import Any, Final

import msgspec

from devstack.authserver.clients.redirects import LOOPBACK, WEB, Address, parse
from devstack.authserver.store import Store
from devstack.realm.model import Client, Realm

POLICY: Final = "Policy '{}' rejected request to client-registration service. Details: {}"
FOREIGN_URI: Final = POLICY.format("Trusted Hosts", "URI doesn't match any trusted host or trusted domain")
FOREIGN_SCOPE: Final = POLICY.format("Allowed Client Scopes", "Not permitted to use specified clientScope")
FULL: Final = POLICY.format("Max Clients Limit", "It's allowed to have max {} clients per realm")
GRANTS: Final = ("authorization_code", "refresh_token")
"""All that a client has which nobody vouches for: with both a person stands behind every token."""
AUTH_METHODS: Final = frozenset({"none", "client_secret_basic", "client_secret_post"})
MAX_NAME: Final = 100


class Metadata(msgspec.Struct, forbid_unknown_fields=True):
    """What a registration may hold: the members that matter here, then those that are taken and forgotten."""

    redirect_uris: tuple[str, ...] = ()
    token_endpoint_auth_method: str | None = None
    grant_types: tuple[str, ...] = GRANTS
    client_name: str = ""
    client_uri: str = ""
    scope: str | None = None
    client_id: str | None = None
    response_types: Any = None
    logo_uri: Any = None
    contacts: Any = None
    tos_uri: Any = None
    policy_uri: Any = None
    jwks_uri: Any = None
    jwks: Any = None
    software_id: Any = None
    software_version: Any = None
    software_statement: Any = None
    application_type: Any = None
    subject_type: Any = None
    default_max_age: Any = None
    require_auth_time: Any = None
    post_logout_redirect_uris: Any = None
    dpop_bound_access_tokens: Any = None
    token_endpoint_auth_signing_alg: Any = None
    id_token_signed_response_alg: Any = None


class RegistrationRefused(Exception):
    """Why a client may not register, in Keycloak's words; `status` is the HTTP status of the answer."""

    def __init__(self, text: str, status: int = 403, error: str = "insufficient_scope") -> None:
        super().__init__(text)
        self.status, self._error = status, error

    def body(self) -> dict[str, str]:
        """The answer's JSON, as unlike RFC 7591 §3.2.2 as Keycloak's."""
        return {"error": self._error, "error_description": str(self)}


def register(store: Store, body: bytes) -> dict[str, Any]:
    """Take a client in; the answer of RFC 7591 §3.2.1. Raises `RegistrationRefused`."""
    metadata, realm = decode(body), store.realm
    method = metadata.token_endpoint_auth_method or "client_secret_basic"  # RFC 7591 §2
    if method not in AUTH_METHODS:
        raise RegistrationRefused("Client metadata invalid", 400, "invalid_client_metadata")
    _judge_addresses(metadata, realm)
    client = client_of(realm, "dcr-" + secrets.token_hex(16), metadata)
    if method != "none":
        client = msgspec.structs.replace(client, secret=secrets.token_urlsafe(32))
    if not store.admit(client):
        raise RegistrationRefused(FULL.format(realm.registration.max_clients))
    answer: dict[str, Any] = {
        "client_id": client.client_id,
        "client_name": client.name,
        "redirect_uris": list(client.redirect_uris),
        "grant_types": list(client.grants),
        "response_types": ["code"],
        "token_endpoint_auth_method": method,
        "scope": " ".join(client.scopes),
    }
    return answer | ({"client_secret": client.secret, "client_secret_expires_at": 0} if client.secret else {})


def decode(body: bytes) -> Metadata:
    """What a registration or a document says; a member that is null is one that is absent."""
    try:
        found = msgspec.json.decode(body, type=dict[str, Any])
        return msgspec.convert({name: value for name, value in found.items() if value is not None}, Metadata)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        text = f"Invalid json representation for OIDCClientRepresentation. Unrecognized field or value: {error}"
        raise RegistrationRefused(text, 400, "invalid_client_metadata") from error


def _judge_addresses(metadata: Metadata, realm: Realm) -> None:
    for uri in metadata.redirect_uris:
        _judge_redirect(uri, realm)
    if metadata.client_uri:
        page = parse(metadata.client_uri)
        if page is None or page.scheme not in WEB or not listed(page.host, realm.registration.hosts):
            raise RegistrationRefused(FOREIGN_URI)


def _judge_redirect(uri: str, realm: Realm) -> None:
    """Raises for an address where no code may go; over http it goes to this machine alone."""
    if "#" in uri:  # RFC 6749 §3.1.2
        raise RegistrationRefused("A redirect URI must not contain an URL fragment", 400, "invalid_redirect_uri")
    address, rules = parse(uri), realm.registration
    if address is None or "*" in uri:
        raise RegistrationRefused("invalid_request")
    if not listed(address.host, rules.hosts):
        raise RegistrationRefused(FOREIGN_URI)
    here = address.host in LOOPBACK
    usual = address.scheme == "https" or (address.scheme == "http" and here)
    if not listed(address.host, rules.redirect_hosts) or not (usual or _is_private_use(address, realm)):
        raise RegistrationRefused("invalid_request")


def _is_private_use(address: Address, realm: Realm) -> bool:
    """Whether an application's own scheme (RFC 8252 §7.1) stands in the realm's file, for that very host."""
    known = (parse(uri) for client in realm.clients for uri in client.redirect_uris)
    return any(one.origin == address.origin for one in known if one and one.scheme not in WEB)


def listed(host: str, hosts: frozenset[str]) -> bool:
    """Whether a host stands in a list, by its name or under a `*.` in front of a domain."""
    return host in hosts or any(one.startswith("*.") and host.endswith(one[1:]) for one in hosts)


def client_of(realm: Realm, client_id: str, metadata: Metadata) -> Client:
    """The client that a registration makes: public until it has a secret, for persons who are asked."""
    defaults, optional = realm.default_scopes, realm.optional_scopes
    if metadata.scope is not None:  # what a client states is all it gets, now and later
        asked = metadata.scope.split()
        allowed = {*realm.registration.scopes, *defaults, *optional}
        if not allowed.issuperset(asked):
            raise RegistrationRefused(FOREIGN_SCOPE)
        defaults, optional = ("basic",), tuple(one for one in asked if one != "openid")
    addresses = filter(None, map(parse, metadata.redirect_uris))
    name = "".join(one for one in metadata.client_name[:MAX_NAME] if one.isprintable())  # no signs that turn the line
    return Client(
        client_id=client_id,
        redirect_uris=metadata.redirect_uris,
        scopes=optional,
        default_scopes=defaults,
        grants=tuple(one for one in GRANTS if one == "authorization_code" or one in metadata.grant_types),
        origins=tuple({one.origin for one in addresses if one.scheme in WEB}),
        consent=True,
        name=name or client_id,
    )
