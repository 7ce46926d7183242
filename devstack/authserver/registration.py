"""Clients that register themselves: RFC 7591 with Keycloak's policies, and client ID metadata documents."""

import ipaddress
import secrets
import socket
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import msgspec

from devstack.authserver.store import MAX_CLIENTS, RegisteredClient, Store
from devstack.realm.description import Client

REDIRECT_HOSTS: Final = frozenset(
    {"127.0.0.1", "localhost", "::1", "vscode.dev", "insiders.vscode.dev", "anysphere.cursor-mcp", "claude.ai"}
)
DOCUMENT_HOSTS: Final = frozenset({"vscode.dev", "claude.ai"})
LOOPBACK_HOSTS: Final = frozenset({"127.0.0.1", "localhost"})
MAX_DOCUMENT: Final = 5000
DOCUMENT_S: Final = 5.0
_OPEN_SCOPES: Final = ("mcp:read", "mcp:write", "mcp:infer", "mcp:admin")


class Metadata(msgspec.Struct):
    """The members of a registration that matter here; others are taken and forgotten."""

    redirect_uris: tuple[str, ...] = ()
    token_endpoint_auth_method: str = "none"
    grant_types: tuple[str, ...] = ("authorization_code", "refresh_token")
    client_name: str = ""
    scope: str | None = None
    client_id: str | None = None


class RegistrationRefused(Exception):
    """Why a client may not register; the text is in Keycloak's words."""


def register(store: Store, body: bytes) -> dict[str, Any]:
    """Take a client in; the answer of RFC 7591 §3.2.1. Raises `RegistrationRefused`."""
    metadata = _decode(body)
    registered = [one for one in store.clients if one.startswith("dcr-")]
    if len(registered) >= MAX_CLIENTS:
        raise RegistrationRefused(f"Policy 'Max Clients Limit' rejected: max {MAX_CLIENTS} clients per realm")
    client = _client("dcr-" + secrets.token_hex(16), metadata, REDIRECT_HOSTS)
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


async def adopt_document(store: Store, client_id: str, *, allow_loopback: bool) -> None:
    """Fetch the document that a URL client id names and take its client in; raises `RegistrationRefused`.

    Only listed hosts are asked, over https, at public addresses, without redirects: a stranger names the URL. Loopback
    over http is for development.
    """
    if client_id in store.clients or not client_id.startswith(("https://", "http://")):
        return
    host = _document_host(client_id, allow_loopback=allow_loopback)
    metadata = _decode(await _fetch(client_id))
    if metadata.client_id != client_id:
        raise RegistrationRefused("client_id property does not exactly match client_id parameter")
    if metadata.token_endpoint_auth_method != "none":
        raise RegistrationRefused("not-allowed authentication method")
    store.clients[client_id] = RegisteredClient(_client(client_id, metadata, LOOPBACK_HOSTS | {host, "::1"}))


def _decode(body: bytes) -> Metadata:
    try:
        return msgspec.json.decode(body, type=Metadata)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RegistrationRefused(f"Invalid json representation. {error}") from error


def _client(client_id: str, metadata: Metadata, hosts: frozenset[str]) -> Client:
    for uri in metadata.redirect_uris:
        if urlsplit(uri).hostname not in hosts:
            raise RegistrationRefused("URI doesn't match any trusted host or trusted domain")
    scopes = _OPEN_SCOPES if metadata.scope is None else tuple(metadata.scope.split())
    unknown = set(scopes) - {*_OPEN_SCOPES, "openid", "profile", "email", "offline_access"}
    if unknown:
        raise RegistrationRefused("Not permitted to use specified clientScope")
    return Client(
        client_id=client_id,
        redirect_uris=tuple(metadata.redirect_uris),
        scopes=tuple(one for one in scopes if one in _OPEN_SCOPES),
        grants=tuple(metadata.grant_types),
        consent=True,
        name=metadata.client_name[:100] or client_id,
    )


def _document_host(client_id: str, *, allow_loopback: bool) -> str:
    parts = urlsplit(client_id)
    host = parts.hostname or ""
    if not parts.path.strip("/") or parts.query or parts.fragment or parts.username:
        raise RegistrationRefused("Invalid Client ID")
    if allow_loopback and parts.scheme == "http" and host in LOOPBACK_HOSTS:
        return host
    if parts.scheme != "https" or host not in DOCUMENT_HOSTS:
        raise RegistrationRefused("Client not found")
    if not all(_is_public(address) for address in _addresses(host)):
        raise RegistrationRefused("Invalid Client ID: domain not allowed.")
    return host


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
