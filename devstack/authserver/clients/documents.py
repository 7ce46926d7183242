"""Client ID metadata documents: a client whose id is the address of a document that says who it is."""

import asyncio
import ipaddress
import re
import socket
from typing import Final

import httpx

from devstack.authserver.clients.redirects import WEB, Address, parse
from devstack.authserver.clients.registration import Metadata, RegistrationRefused, client_of, decode, listed
from devstack.authserver.pace import Pace
from devstack.authserver.store import Store

CIMD: Final = "cimd"
MAX_DOCUMENT: Final = 5000
DOCUMENT_S: Final = 5.0
NOT_FOUND: Final = "Client not found."
NOT_FETCHED: Final = "Client Metadata fetch failed"
NOT_ALLOWED: Final = "Invalid Client ID: domain not allowed."
_PATH: Final = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+")
"""No empty segment, none of dots, nothing percent-encoded: a proxy could read it as another path."""


class Documents:
    """Fetches documents, and takes their clients in.

    Only places that the realm lists are asked, at public addresses, without redirects: anybody may name the URL, by a
    link that anybody opens. What the realm lists with `http` is loopback, for development; there a GET may reach
    whatever else runs on the machine, so that each origin must be in `local`, and the path be a JSON file's.
    """

    def __init__(self, store: Store, local: frozenset[str] = frozenset()) -> None:
        self._store, self.local = store, set(local)
        self.pace = Pace()  # links that a person follows spend nothing of what registrations have

    async def adopt(self, client_id: str, sender: str) -> None:
        """Know the client from now on that a URL client id names; raises `RegistrationRefused`."""
        if client_id in self._store.clients or not client_id.startswith(("https://", "http://")):
            return
        place = parse(client_id)
        if place is None:
            raise RegistrationRefused(NOT_FOUND)
        hosts = self._hosts(place)
        if self.pace.wait_s(sender):
            raise RegistrationRefused("Too many new clients. Try again in a minute.")
        if place.scheme == "https" and not all(map(_is_public, await asyncio.to_thread(_addresses, place.host))):
            raise RegistrationRefused(NOT_ALLOWED)
        try:
            metadata = decode(await _fetch(client_id))
        except RegistrationRefused as refused:  # a member it does not know is to Keycloak a failed fetch
            raise RegistrationRefused(NOT_FETCHED) from refused
        _judge(metadata, client_id, hosts)
        if not self._store.admit(client_of(self._store.realm, client_id, metadata)):
            raise RegistrationRefused("Max Clients Limit")

    def _hosts(self, place: Address) -> frozenset[str]:
        """The hosts that a document at this place may name; raises `RegistrationRefused` for a place nobody listed."""
        realm = self._store.realm
        hosts = realm.registration.documents.get(f"{place.scheme}://{place.host}")
        local = place.scheme == "http"
        if hosts is None or CIMD not in realm.features or (local and place.origin not in self.local):
            raise RegistrationRefused(NOT_FOUND)
        good = _PATH.fullmatch(place.path) and place.query is None and (not local or place.path.endswith(".json"))
        if not good:
            raise RegistrationRefused("Invalid Client ID")
        return hosts


def _judge(metadata: Metadata, client_id: str, hosts: frozenset[str]) -> None:
    if metadata.client_id != client_id:
        raise RegistrationRefused("client_id property does not exactly match client_id parameter")
    if metadata.token_endpoint_auth_method not in ("none", None):
        raise RegistrationRefused("not-allowed authentication method")
    pages = (metadata.client_uri,) if metadata.client_uri else ()
    for uri in (*metadata.redirect_uris, *pages):
        address = parse(uri)
        if address is None or address.scheme not in WEB or not listed(address.host, hosts):
            raise RegistrationRefused(NOT_ALLOWED)


def _addresses(host: str) -> list[str]:
    try:
        return [str(found[4][0]) for found in socket.getaddrinfo(host, 443, proto=socket.IPPROTO_TCP)]
    except OSError as error:
        raise RegistrationRefused(NOT_FETCHED) from error


def _is_public(address: str) -> bool:
    return ipaddress.ip_address(address).is_global


async def _fetch(url: str) -> bytes:
    """The bytes as they come over the wire: nothing is unpacked, so that what is counted is what is held."""
    plain = {"accept": "application/json", "accept-encoding": "identity"}
    body = bytearray()
    try:
        async with (
            asyncio.timeout(DOCUMENT_S),
            httpx.AsyncClient(trust_env=False, headers=plain) as client,
            client.stream("GET", url) as got,
        ):
            async for chunk in got.aiter_raw():
                body += chunk
                if len(body) > MAX_DOCUMENT:
                    raise RegistrationRefused(NOT_FETCHED)
    except (httpx.HTTPError, TimeoutError) as error:
        raise RegistrationRefused(NOT_FETCHED) from error
    if got.status_code != 200:
        raise RegistrationRefused(NOT_FETCHED)
    return bytes(body)
