"""Clients that register themselves: RFC 7591 with Keycloak's policies, and client ID metadata documents."""

import ipaddress
import secrets
import socket
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import msgspec

from devstack.authserver.store import RegisteredClient, Store
from devstack.realm.model import Client, Registration

CIMD: Final = "cimd"
MAX_DOCUMENT: Final = 5000
DOCUMENT_S: Final = 5.0
FOREIGN_URI: Final = (
    "Policy 'Trusted Hosts' rejected request to client-registration service. "
    "Details: URI doesn't match any trusted host or trusted domain"
)
FOREIGN_SCOPE: Final = (
    "Policy 'Allowed Client Scopes' rejected request to client-registration service. "
    "Details: Not permitted to use specified clientScope"
)


class Metadata(msgspec.Struct, forbid_unknown_fields=True):
    """What a registration may hold: the members that matter here, then those that are taken and forgotten."""

    redirect_uris: tuple[str, ...] = ()
    token_endpoint_auth_method: str = "none"
    grant_types: tuple[str, ...] = ("authorization_code", "refresh_token")
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

    def __init__(self, text: str, status: int = 403) -> None:
        super().__init__(text)
        self.status = status

    def body(self) -> dict[str, str]:
        """The answer's JSON, as unlike RFC 7591 §3.2.2 as Keycloak's."""
        if self.status != 403:
            return {"error": str(self)}
        return {"error": "insufficient_scope", "error_description": str(self)}


def register(store: Store, body: bytes) -> dict[str, Any]:
    """Take a client in; the answer of RFC 7591 §3.2.1. Raises `RegistrationRefused`."""
    metadata, rules = _decode(body), store.realm.registration
    registered = [one for one in store.clients if one.startswith("dcr-")]
    if len(registered) >= rules.max_clients:
        raise RegistrationRefused(f"Policy 'Max Clients Limit' rejected: max {rules.max_clients} clients per realm")
    _judge_redirects(metadata, rules)
    client = _client(store, "dcr-" + secrets.token_hex(16), metadata)
    if metadata.token_endpoint_auth_method != "none":
        client = msgspec.structs.replace(client, secret=secrets.token_urlsafe(32))
    store.clients[client.client_id] = RegisteredClient(client)
    answer: dict[str, Any] = {
        "client_id": client.client_id,
        "client_name": client.name,
        "redirect_uris": list(client.redirect_uris),
        "grant_types": list(client.grants),
        "response_types": ["code"],
        "token_endpoint_auth_method": metadata.token_endpoint_auth_method,
        "scope": " ".join(client.scopes),
    }
    return answer | ({"client_secret": client.secret, "client_secret_expires_at": 0} if client.secret else {})


async def adopt_document(store: Store, client_id: str) -> None:
    """Fetch the document that a URL client id names and take its client in; raises `RegistrationRefused`.

    Only places that the realm lists are asked, at public addresses, without redirects: a stranger names the URL. What
    the realm lists with `http` is loopback, for development.
    """
    if client_id in store.clients or not client_id.startswith(("https://", "http://")):
        return
    hosts = _document_hosts(store, client_id)
    try:
        metadata = _decode(await _fetch(client_id))
    except RegistrationRefused as refused:  # a member it does not know is to Keycloak a failed fetch
        raise RegistrationRefused("Client Metadata fetch failed") from refused
    if metadata.client_id != client_id:
        raise RegistrationRefused("client_id property does not exactly match client_id parameter")
    if metadata.token_endpoint_auth_method != "none":
        raise RegistrationRefused("not-allowed authentication method")
    for uri in (*metadata.redirect_uris, metadata.client_uri):
        if uri and not _listed(urlsplit(uri).hostname, hosts):
            raise RegistrationRefused("Invalid Client ID: domain not allowed.")
    store.clients[client_id] = RegisteredClient(_client(store, client_id, metadata))


def _decode(body: bytes) -> Metadata:
    try:
        return msgspec.json.decode(body, type=Metadata)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RegistrationRefused(
            f"Invalid json representation for OIDCClientRepresentation. Unrecognized field or value: {error}", 400
        ) from error


def _judge_redirects(metadata: Metadata, rules: Registration) -> None:
    for uri in metadata.redirect_uris:
        host = urlsplit(uri).hostname
        if not _listed(host, rules.hosts):
            raise RegistrationRefused(FOREIGN_URI)
        if "*" in uri or not _listed(host, rules.redirect_hosts):
            raise RegistrationRefused("invalid_request")
    if metadata.client_uri and not _listed(urlsplit(metadata.client_uri).hostname, rules.hosts):
        raise RegistrationRefused(FOREIGN_URI)


def _listed(host: str | None, hosts: frozenset[str]) -> bool:
    if host is None:
        return False
    return host in hosts or any(one.startswith("*.") and host.endswith(one[1:]) for one in hosts)


def _client(store: Store, client_id: str, metadata: Metadata) -> Client:
    realm = store.realm
    defaults, optional = realm.default_scopes, realm.optional_scopes
    if metadata.scope is not None:  # what a client states is all it gets, now and later
        asked = metadata.scope.split()
        allowed = {*realm.registration.scopes, *defaults, *optional}
        if not allowed.issuperset(asked):
            raise RegistrationRefused(FOREIGN_SCOPE)
        defaults, optional = ("basic",), tuple(one for one in asked if one != "openid")
    return Client(
        client_id=client_id,
        redirect_uris=metadata.redirect_uris,
        scopes=optional,
        default_scopes=defaults,
        grants=metadata.grant_types,
        origins=tuple({_origin(uri) for uri in metadata.redirect_uris}),
        consent=True,
        name=metadata.client_name[:100] or client_id,
    )


def _origin(uri: str) -> str:
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc}"


def _document_hosts(store: Store, client_id: str) -> frozenset[str]:
    """The hosts that a document at this place may name; raises `RegistrationRefused` for a place nobody listed."""
    parts = urlsplit(client_id)
    host = parts.hostname or ""
    hosts = store.realm.registration.documents.get(f"{parts.scheme}://{host}")
    if hosts is None or CIMD not in store.realm.features:
        raise RegistrationRefused("Client not found.")
    if not parts.path.strip("/") or parts.query or parts.fragment or parts.username:
        raise RegistrationRefused("Invalid Client ID")
    if parts.scheme == "https" and not all(_is_public(address) for address in _addresses(host)):
        raise RegistrationRefused("Invalid Client ID: domain not allowed.")
    return hosts


def _addresses(host: str) -> list[str]:
    try:
        return [str(found[4][0]) for found in socket.getaddrinfo(host, 443, proto=socket.IPPROTO_TCP)]
    except OSError as error:
        raise RegistrationRefused("Client Metadata fetch failed") from error


def _is_public(address: str) -> bool:
    return ipaddress.ip_address(address).is_global


async def _fetch(url: str) -> bytes:
    try:
        async with httpx.AsyncClient(timeout=DOCUMENT_S, trust_env=False) as client, client.stream("GET", url) as got:
            body = bytearray()
            async for chunk in got.aiter_bytes():
                body += chunk
                if len(body) > MAX_DOCUMENT:
                    raise RegistrationRefused("Client Metadata fetch failed")
            if got.status_code != 200:
                raise RegistrationRefused("Client Metadata fetch failed")
            return bytes(body)
    except httpx.HTTPError as error:
        raise RegistrationRefused("Client Metadata fetch failed") from error
