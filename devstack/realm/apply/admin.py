"""Keycloak's Admin REST API: a token that is renewed, JSON in and out, refusals in Keycloak's own words."""

import os
import ssl
import time
from typing import Any, Final, Self
from urllib.parse import quote

import httpx
import msgspec

RENEW_S: Final = 30.0
TIMEOUT_S: Final = 60.0
"""Making a realm on a busy machine takes seconds."""


class Credentials(msgspec.Struct, frozen=True):
    """An administrator of the realm `login_realm`: a user with a password, or (`is_client`) a client with a secret."""

    name: str
    secret: str
    is_client: bool = False
    login_realm: str = "master"

    def form(self) -> dict[str, str]:
        """The token request."""
        if self.is_client:
            return {"grant_type": "client_credentials", "client_id": self.name, "client_secret": self.secret}
        form = {"grant_type": "password", "client_id": "admin-cli"}
        return {**form, "username": self.name, "password": self.secret}


class AdminError(Exception):
    """Keycloak refused or could not be reached; the text says which request and why."""


class Admin:
    """The administration of one realm, which need not exist yet."""

    def __init__(self, origin: str, realm: str, credentials: Credentials) -> None:
        self.origin, self.realm = origin.rstrip("/"), realm
        self._credentials = credentials
        verify = _verification(os.environ.get("MCP_CA_FILE", ""))
        self._http = httpx.Client(timeout=TIMEOUT_S, trust_env=False, verify=verify)
        self._token, self._got_at = "", 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def exists(self) -> bool:
        """Whether the realm is there."""
        return self.find("") is not None

    def create_realm(self, fields: dict[str, Any]) -> None:
        """Make the realm, with what Keycloak gives to each new one; raises `AdminError`."""
        self._request("POST", f"{self.origin}/admin/realms", fields)
        self._got_at = 0.0  # the old token knows nothing of the new realm

    def server(self) -> Any:
        """What this Keycloak was built with; raises `AdminError`."""
        return self._request("GET", f"{self.origin}/admin/serverinfo", None).json()

    def find(self, path: str, **query: Any) -> Any:
        """A document below the realm, None where there is none; raises `AdminError`."""
        response = self._request("GET", self._url(path), None, query)
        return None if response.status_code == 404 else response.json()

    def listed(self, path: str, **query: Any) -> list[Any]:
        """A list below the realm; empty where the realm itself is missing."""
        return self.find(path, **query) or []

    def send(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """Change something; raises `AdminError`, for a 404 as well."""
        response = self._request(method, self._url(path), body)
        if response.status_code == 404:
            raise AdminError(f"{method} {path}: not found")
        return response

    def stranger(self, path: str) -> int:
        """The status that a GET without a credential gets below the realm's public address; raises `AdminError`."""
        url = f"{self.origin}/realms/{quote(self.realm, safe='')}/{path}"
        try:
            return self._http.get(url).status_code
        except httpx.HTTPError as error:
            raise AdminError(f"GET {url}: {error}") from error

    def _url(self, path: str) -> str:
        return f"{self.origin}/admin/realms/{quote(self.realm, safe='')}{path}"

    def _request(self, method: str, url: str, body: Any, query: dict[str, Any] | None = None) -> httpx.Response:
        headers = {"authorization": f"Bearer {self._bearer()}"}
        try:
            response = self._http.request(method, url, json=body, params=query, headers=headers)
        except httpx.HTTPError as error:
            raise AdminError(f"{method} {url}: {error}") from error
        if response.status_code >= 400 and response.status_code != 404:
            raise AdminError(f"{method} {url}: {response.status_code} {response.text[:300]}")
        return response

    def _bearer(self) -> str:
        if time.monotonic() - self._got_at > RENEW_S or not self._token:
            url = f"{self.origin}/realms/{self._credentials.login_realm}/protocol/openid-connect/token"
            try:
                answer = self._http.post(url, data=self._credentials.form())
            except httpx.HTTPError as error:
                raise AdminError(_unreached(self.origin, error)) from error
            if answer.status_code != 200:
                raise AdminError(f"no token for {self._credentials.name}: {answer.status_code} {answer.text[:300]}")
            self._token, self._got_at = answer.json()["access_token"], time.monotonic()
        return self._token


def _verification(ca_file: str) -> ssl.SSLContext:
    """The usual authorities and those of `MCP_CA_FILE`, as the server itself has it; raises `AdminError`."""
    made = httpx.create_ssl_context(trust_env=False)
    if ca_file:
        try:
            made.load_verify_locations(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            raise AdminError(f"MCP_CA_FILE: no PEM certificates at {ca_file}: {error}") from error
    return made


def _unreached(origin: str, error: httpx.HTTPError) -> str:
    """Something that answers with a certificate of nobody's is told from nothing that answers."""
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return f"the certificate of {origin} is not trusted: name its authority's PEM file in MCP_CA_FILE ({error})"
    return f"nothing answers at {origin}: {error}"
