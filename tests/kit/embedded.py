"""The embedded issuer without a socket: a browser's login, a client's token request, a stranger's registration."""

import base64
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import msgspec
from litestar.testing import TestClient

from devstack.authserver.app import AuthServer, create
from devstack.login import authorize
from devstack.realm.model import FEATURES, REALM_FILE, read

BASE = "/realms/mcp/protocol/openid-connect"
AUTHORIZE = f"http://localhost:8180{BASE}/auth"
"""With the host of the forms: the session's cookie belongs to it."""
RESOURCE = "http://localhost:8000/mcp"
VERIFIER = "v" * 50
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
ASKED = {
    "client_id": "mcp-public", "response_type": "code", "redirect_uri": "http://127.0.0.1:5000/callback", "scope": "openid mcp:read mcp:write",
    "state": "s", "code_challenge": CHALLENGE, "code_challenge_method": "S256",
}  # fmt: skip
Running = tuple[TestClient[Any], AuthServer]


@contextmanager
def embedded(features: tuple[str, ...] = FEATURES, file: Path = REALM_FILE) -> Iterator[Running]:
    """A new one with a file's realm, and a client of it that follows no redirect."""
    app, server = create(read(features=features, file=file))
    with TestClient(app, base_url="http://127.0.0.1") as client:
        client.follow_redirects = False
        yield client, server


def login(client: Any, user: str, **changed: Any) -> dict[str, str]:
    asked = {name: value for name, value in (ASKED | changed).items() if value is not None}
    return authorize(client, str(httpx.URL(AUTHORIZE, params=asked)), user)


def redeem(client: Any, issued: str, **changed: Any) -> Any:
    form = {
        "grant_type": "authorization_code",
        "code": issued,
        "client_id": "mcp-public",
        "code_verifier": VERIFIER,
        "redirect_uri": ASKED["redirect_uri"],
    }
    return client.post(
        f"{BASE}/token", data={name: value for name, value in (form | changed).items() if value is not None}
    )


def claims(token: str) -> dict[str, Any]:
    part = token.split(".")[1]
    decoded: dict[str, Any] = msgspec.json.decode(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return decoded


def basic(client_id: str, secret: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{quote(client_id, safe='')}:{secret}".encode()).decode()}


def register(client: Any, **body: Any) -> Any:
    whole = {"redirect_uris": ["http://127.0.0.1:9/callback"], "token_endpoint_auth_method": "none"} | body
    return client.post("/realms/mcp/clients-registrations/openid-connect", json=whole)
