"""An OAuth client of the tests: it asks for authorization, trades codes, registers, publishes documents."""

import asyncio
import base64
import hashlib
import secrets
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import httpx
import msgspec

from devstack.login import authorize, browser
from mcp_server.auth.tokens import introspection
from mcp_server.auth.tokens.introspection import IntrospectionClient
from tests.kit import wire
from tests.kit.authorities import SERVER_SECRET, Authority
from tests.kit.documents import published

REDIRECT = "http://127.0.0.1:33418/callback"
INSPECTOR = {"origin": "http://localhost:6274"}
LIST, CREATE = (wire.legacy("tools/call", {"name": name, "arguments": arguments}) for name, arguments in (
    ("list_orders", {}), ("create_order", {"item": "cup", "quantity": 1})
))  # fmt: skip


def scopes(answer: dict[str, Any]) -> set[str]:
    return set(answer["scope"].split())


async def post(http: httpx.AsyncClient, authority: Authority, path: str, **form: str) -> httpx.Response:
    return await http.post(f"{authority.issuer}/protocol/openid-connect/{path}", data=form)


async def refresh(http: httpx.AsyncClient, authority: Authority, refresh_token: str) -> httpx.Response:
    form = {"grant_type": "refresh_token", "client_id": "mcp-public", "refresh_token": refresh_token}
    return await post(http, authority, "token", **form)


async def introspect(http: httpx.AsyncClient, authority: Authority, access_token: str) -> Any:
    """As the MCP server's own client: its id is a URL, percent-encoded in HTTP Basic."""
    ours = IntrospectionClient(authority.resource, SERVER_SECRET)
    url = f"{authority.issuer}/protocol/openid-connect/token/introspect"
    form = introspection.form(access_token.encode())
    return (await http.post(url, data=form, headers={"authorization": ours.basic()})).json()


class Asked:
    """An authorization request of a client, and what came back; a `screen` keeps its session."""

    screen: httpx.Client | None = None

    def __init__(self, authority: Authority, **changed: str | None) -> None:
        self.authority, self.verifier = authority, secrets.token_urlsafe(48)
        digest = hashlib.sha256(self.verifier.encode()).digest()
        parameters = {
            "client_id": "mcp-public",
            "response_type": "code",
            "redirect_uri": REDIRECT,
            "scope": "openid mcp:read",
            "state": "s",
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
            **changed,
        }
        self.parameters = {name: value for name, value in parameters.items() if value is not None}

    async def back(self, user: str = "bob", *, allow: bool = True) -> dict[str, str]:
        """The redirect's parameters; raises `LoginFailed` for a page instead."""
        url = httpx.URL(f"{self.authority.issuer}/protocol/openid-connect/auth", params=self.parameters)

        def go() -> dict[str, str]:
            with nullcontext(self.screen) if self.screen else browser() as shown:
                return authorize(shown, str(url), user, allow=allow)

        return await asyncio.to_thread(go)

    async def tokens(self, http: httpx.AsyncClient, user: str = "bob", **more: str) -> httpx.Response:
        """The token endpoint's answer to the code."""
        back = await self.back(user)
        form = {
            "grant_type": "authorization_code",
            "code": back["code"],
            "redirect_uri": self.parameters["redirect_uri"],
            "client_id": self.parameters["client_id"],
            "code_verifier": self.verifier,
            **more,
        }
        return await post(http, self.authority, "token", **form)


async def register(http: httpx.AsyncClient, authority: Authority, origin: bool = False, **changed: Any) -> Any:
    body = {
        "client_name": "A client",
        "redirect_uris": ["http://localhost:53412/callback"],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
        **changed,
    }
    headers = INSPECTOR if origin else {}
    return await http.post(f"{authority.issuer}/clients-registrations/openid-connect", json=body, headers=headers)


def document(**changed: Any) -> AbstractContextManager[str]:
    """A client's document on loopback, under its own address unless something else is said."""

    def body(address: str) -> bytes:
        whole = {
            "client_id": address,
            "client_name": "By document",
            "redirect_uris": ["http://127.0.0.1/callback"],
            "grant_types": ["authorization_code", "refresh_token"],
            "token_endpoint_auth_method": "none",
        }
        return msgspec.json.encode(whole | changed)

    return published(body)
