"""An exchange of tokens over a real socket: a token endpoint that a test scripts."""

import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs

import msgspec
import pytest

from mcp_server.identity import Credential
from mcp_server.rest.client import Limits
from mcp_server.rest.exchange import TEXTS, Exchange, ExchangeConfig, NoAccess
from mcp_server.rest.wire.grants import ClientAuth, Wanted
from tests.kit.principals import principal
from tests.kit.upstreams import Api, answers, api
from tests.kit.upstreams import Exchange as Request

CLIENT = ClientAuth(client_id="http://localhost:8000/mcp", secret="server-s3cret")
READ = Wanted(audience="orders-api", scopes=frozenset({"orders:read"}))
WRITE = Wanted(audience="orders-api", scopes=frozenset({"orders:write"}))
ISSUER = "https://issuer"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def caller(token: str = "alice-token", exp: float = 2000.0) -> Credential:
    document = msgspec.json.encode({"exp": exp})
    digest = hashlib.sha256(token.encode()).hexdigest()[:16]
    who = msgspec.structs.replace(principal(), document=document, expires_at=exp + 30, token_digest=digest)
    return Credential(token.encode(), who)


def form(request: Request) -> dict[str, str]:
    return {name: value for name, (value,) in parse_qs(request.body.decode()).items()}


async def issues(request: Request) -> None:
    """A token that says for whom it is: the subject's digest, the scope, and a number."""
    asked = form(request)
    issues.number += 1  # type: ignore[attr-defined]
    whose = asked.get("subject_token", "server")
    token = f"for.{whose}.{asked['scope'].replace(':', '-')}.{issues.number}"  # type: ignore[attr-defined]
    body = {"access_token": token, "token_type": "Bearer", "expires_in": 300, "scope": asked["scope"]}
    await answers(body=msgspec.json.encode(body))(request)


issues.number = 0  # type: ignore[attr-defined]


@asynccontextmanager
async def exchanging(
    *acts: Callable[[Request], Any], most: int = 100, **more: Any
) -> AsyncIterator[tuple[Exchange, Api]]:
    async with api(*(acts or (issues,))) as issuer:

        async def endpoint(name: str) -> str | None:
            return f"http://127.0.0.1:{issuer.port}/token" if name == ISSUER else None

        means = ExchangeConfig(limits=Limits(attempts=1), most=most)
        clock = more.pop("clock", None) or Clock()
        async with Exchange(CLIENT, endpoint, means=means, **{"clock": clock, "monotonic": clock, **more}) as made:
            yield made, issuer


async def no_access(made: Exchange, kind: str, credential: Credential | None = None) -> None:
    with pytest.raises(NoAccess) as raised:
        await made.token(credential or caller(), READ)
    assert raised.value.kind == kind
    assert str(raised.value) == TEXTS[raised.value.kind]
