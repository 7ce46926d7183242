"""Vault and OpenBao: one secret of a KV engine, version 1 or 2, by its HTTP API.

A small client of our own: what is needed of it is three requests, and the one that exists (hvac) has been quiet for a
year and brings no bound on an answer (decision 24).
"""

import contextlib
import ssl
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote, urlsplit

import httpx
import msgspec

from mcp_server.protocol.errors import UNREADABLE
from mcp_server.route import Route
from mcp_server.secrets import authorities
from mcp_server.secrets.source import ANSWER_S, CONNECT_S, Address, SecretsUnavailable, of_members
from mcp_server.secrets.vault_login import Login, login
from mcp_server.unreachable import why

MAX_ANSWER: Final = 1024 * 1024
AGAIN: Final = frozenset({412, 429, 500, 502, 503, 504})
"""Answers after which it is asked once more: a standby that is behind, a limit, a node that goes."""


class Vault:
    """The settings of one KV secret."""

    def __init__(self, address: Address, route: Route, transport: httpx.BaseTransport | None = None) -> None:
        parts = urlsplit(address.place)
        self.name, self._options = address.name, address.options
        self._base, self._path = f"https://{parts.netloc}/v1/", parts.path.strip("/").removeprefix("v1/")
        self._route, self._transport = route, transport

    def fetch(self) -> dict[str, str]:
        """Log in, read, and let the login go: nothing of it is left that somebody could find and use."""
        who = login(self._options)
        with _Session(self._client(), who) as session:
            return of_members(_content(session.read(self._path)))

    def _client(self) -> httpx.Client:
        namespace = self._options.get("namespace")
        return httpx.Client(
            base_url=self._base,
            transport=self._transport,
            verify=authorities.trusted(self._route),
            proxy=self._route.through(urlsplit(self._base).hostname or "") or None,
            trust_env=False,
            follow_redirects=False,  # the token would go along
            headers={"accept-encoding": "identity"} | ({"x-vault-namespace": namespace} if namespace else {}),
            timeout=httpx.Timeout(ANSWER_S, connect=CONNECT_S),
        )


class _Session:
    """One login."""

    def __init__(self, http: httpx.Client, who: Login) -> None:
        self._http, self._who, self._token = http, who, who.token

    def __enter__(self) -> Self:
        try:
            if self._who.path:
                self._token = self._logged_in()
        except BaseException:
            self._http.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """A token of our own login is over with it; one that an operator gave is renewed, or it would run out."""
        with contextlib.closing(self._http):
            if error is None:
                self._told("auth/token/revoke-self" if self._who.path else "auth/token/renew-self")

    def _logged_in(self) -> str:
        status, answer = self._ask("POST", self._who.path, self._who.body)
        token = answer.get("auth", {}).get("client_token") if isinstance(answer.get("auth"), dict) else None
        if status == 200 and isinstance(token, str) and token:
            return token
        if status in (400, 401, 403):
            raise SecretsUnavailable(f"the login as {self._who.identity} is refused ({status}): {_LOGIN}")
        raise SecretsUnavailable(_unusable(status, answer))

    def read(self, path: str) -> dict[str, Any]:
        """The answer to a read."""
        status, answer = self._ask("GET", quote(path))
        if status == 200:
            return answer
        if status == 403:
            raise SecretsUnavailable(f"as {self._who.identity}: needs the capability read on {path}")
        if status == 404:
            versioned = "" if "/data/" in path else "; of KV version 2 the path is MOUNT/data/PATH"
            raise SecretsUnavailable(f"there is nothing at {path}, or its newest version is deleted{versioned}")
        raise SecretsUnavailable(_unusable(status, answer))

    def _told(self, path: str) -> None:
        """What may be refused: the token runs out by itself."""
        try:
            self._ask("POST", path)
        except SecretsUnavailable:
            return

    def _ask(self, method: str, path: str, body: Mapping[str, str] | None = None) -> tuple[int, dict[str, Any]]:
        status, answer = self._once(method, path, body)
        return self._once(method, path, body) if status in AGAIN else (status, answer)

    def _once(self, method: str, path: str, body: Mapping[str, str] | None) -> tuple[int, dict[str, Any]]:
        headers = {"x-vault-request": "true"} | ({"x-vault-token": self._token} if self._token else {})
        try:
            with self._http.stream(method, path, json=body, headers=headers) as response:
                return response.status_code, _decoded(response)
        except httpx.TimeoutException:
            raise SecretsUnavailable(f"no answer within {ANSWER_S:g} s") from None
        except (httpx.HTTPError, ssl.SSLError) as error:
            raise SecretsUnavailable(f"cannot be reached ({why(error)})") from None


_LOGIN: Final = "is there such a role, does it take this identity, and is the identity's token not over?"


def _decoded(response: httpx.Response) -> dict[str, Any]:
    body = bytearray()
    for chunk in response.iter_raw():
        body += chunk
        if len(body) > MAX_ANSWER:
            raise SecretsUnavailable(f"answers with more than {MAX_ANSWER} bytes")
    if response.status_code == 204:
        return {}
    try:
        found = msgspec.json.decode(bytes(body))
    except UNREADABLE:
        found = None
    if not isinstance(found, dict):
        if response.status_code < 300:
            raise SecretsUnavailable("answers with no JSON object: is there a Vault?")
        return {}
    return found


def _content(answer: Mapping[str, Any]) -> Any:
    """The members of a secret; KV version 2 has them one level further down, beside what it says of the version."""
    data = answer.get("data")
    if isinstance(data, dict) and isinstance(data.get("metadata"), dict) and "data" in data:
        return data["data"]
    return data


def _unusable(status: int, answer: Mapping[str, Any]) -> str:
    if status == 503 and "Vault is sealed" in str(answer.get("errors", ""))[:200]:
        return "is sealed (503)"
    if 300 <= status < 400:
        return f"sends elsewhere ({status}): name the active node, or the balancer in front of it"
    return "answers with what no Vault would" if status == 200 else f"answered {status}"
