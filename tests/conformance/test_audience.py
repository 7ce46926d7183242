"""What modelcontextprotocol/conformance#78 asks: tokens for this server alone, by an issuer with RFC 8414's document only.

2026-07-28 authorization §Token Handling, security-considerations §Token Audience Binding; RFC 8707 §2; RFC 9068 §4.
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import msgspec
import pytest
from joserfc.jwk import ECKey

from tests.conformance.eras import ERAS, asked, challenged
from tests.kit.issuers import signed
from tests.kit.servers.orders import server as orders
from tests.kit.stack import Running, free_port, running_mcp, serving
from tests.kit.tokens import OUT

CALL: tuple[str, dict[str, Any]] = ("tools/call", {"name": "list_orders", "arguments": {}})
KEY = ECKey.generate_key("P-256", {"kid": "mock"})


class PlainIssuer:
    """An authorization server as an ASGI application: RFC 8414's document, keys, and introspection of what it knows."""

    def __init__(self, url: str, path: str) -> None:
        self.url, self._path = url, path
        self.asked: list[str] = []
        self.known: dict[str, dict[str, Any]] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        self.asked.append(scope["path"])
        found = self._answer(scope["path"], parse_qs(body.decode()))
        status = 404 if found is None else 200
        await send(
            {"type": "http.response.start", "status": status, "headers": [(b"content-type", b"application/json")]}
        )
        await send({"type": "http.response.body", "body": msgspec.json.encode(found)})

    def _answer(self, path: str, form: dict[str, list[str]]) -> Any:
        if path == f"/.well-known/oauth-authorization-server{self._path}":
            return {
                "issuer": self.url,
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                "jwks_uri": f"{self.url}/jwks",
                "introspection_endpoint": f"{self.url}/introspect",
                "response_types_supported": ["code"],
            }
        if path == f"{self._path}/jwks":
            return {"keys": [KEY.as_dict(private=False)]}
        if path == f"{self._path}/introspect":
            return self.known.get(form["token"][0], {"active": False})
        return None


def claims(issuer: str, aud: Any, **changed: Any) -> dict[str, Any]:
    now = int(time.time())
    usual = {
        "iss": issuer, "aud": aud, "sub": "someone", "client_id": "client", "jti": "j", "iat": now, "exp": now + 300,
        "scope": "mcp:read",
    }  # fmt: skip
    return {name: value for name, value in (usual | changed).items() if value is not OUT}


def token(issuer: str, aud: Any, **changed: Any) -> str:
    return signed({"alg": "ES256", "typ": "at+jwt", "kid": "mock"}, claims(issuer, aud, **changed), KEY)


@asynccontextmanager
async def running(folder: Path, path: str, **more: str) -> AsyncIterator[tuple[Running, PlainIssuer]]:
    """The server first: its issuer cannot be reached yet, and nothing is fetched before it is needed."""
    port, own = free_port(), free_port()
    issuer = PlainIssuer(f"http://localhost:{port}{path}", path)
    named = msgspec.json.encode([{"issuer": issuer.url, "persons": "rfc9068"}]).decode()
    async with running_mcp(folder, named, f"http://localhost:{own}/mcp", orders, ready=False, **more) as stack:
        early = await stack.post({}, token(issuer.url, stack.resource))
        assert (early.status_code, "retry-after" in early.headers) == (503, True)
        async with serving(issuer, port):
            yield stack, issuer


@pytest.mark.requirement("25.15", "27.6")
@pytest.mark.parametrize("path", ["", "/tenant/one"])
async def test_a_token_for_this_server_is_accepted_and_for_another_refused(tmp_path: Path, path: str) -> None:
    async with running(tmp_path, path, jwks_cooldown_s="1") as (stack, issuer):
        own = stack.resource
        for era in ERAS:
            for aud in (own, [own], ["https://elsewhere.example/mcp", own]):
                answer = await asked(stack, era, *CALL, authorization=f"Bearer {token(issuer.url, aud)}")
                assert answer.status_code == 200, answer.text
            bare = token(issuer.url, own, scope=OUT)
            for name in ("initialize", "tools/list") if era == ERAS[0] else ("server/discover", "tools/list"):
                assert (await asked(stack, era, name, authorization=f"Bearer {bare}")).status_code == 200
            wrong: list[Any] = [
                "https://elsewhere.example/mcp", own + "/", own.removesuffix("/mcp"), own + "/sub", own.upper(),
                issuer.url, "client", "", [], ["https://elsewhere.example/mcp"], {"0": own}, OUT, None,
            ]  # fmt: skip
            for aud in wrong:
                answer = await asked(stack, era, *CALL, authorization=f"Bearer {token(issuer.url, aud)}")
                assert (answer.status_code, challenged(answer)[1]["error"]) == (401, "invalid_token"), aud
        assert f"/.well-known/oauth-authorization-server{path}" in issuer.asked


async def test_the_audience_counts_of_a_token_that_is_asked_about_too(tmp_path: Path) -> None:
    async with running(tmp_path, "", jwks_cooldown_s="1", client_secret="a-secret-of-this-server") as (stack, issuer):
        for name, aud in (("right", stack.resource), ("wrong", "https://elsewhere.example/mcp"), ("none", OUT)):
            issuer.known[name] = {"active": True, **claims(issuer.url, aud, token_type="Bearer")}
        for era in ERAS:
            statuses = [
                (await asked(stack, era, *CALL, authorization=f"Bearer {one}")).status_code
                for one in ("right", "wrong", "none", "unknown")
            ]
            assert statuses == [200, 401, 401, 401]
