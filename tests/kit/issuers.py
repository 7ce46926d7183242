"""An issuer without sockets: documents that a test may bend, and tokens that it signs; an httpx transport serves it."""

import asyncio
import time
from typing import Any

import httpx
import msgspec
from joserfc.jwk import ECKey
from joserfc.jws import JWSRegistry

from mcp_server.auth.authenticator import AuthConfig
from mcp_server.auth.issuer.fetch import Fetcher
from mcp_server.auth.policy import IssuerPolicy, KeyPolicy
from mcp_server.auth.tokens.introspection import IntrospectionClient
from tests.kit.tokens import OUT, b64, part

ISSUER, RESOURCE = "https://kc.example/realms/mcp", "http://localhost:8000/mcp"
METADATA, KEYS, INTROSPECT = "/.well-known/openid-configuration", "/certs", "/introspect"
Document = bytes | dict[str, Any]


def policy(**changed: Any) -> IssuerPolicy:
    """Trust in this issuer."""
    usual = {"issuer": ISSUER, "audiences": frozenset({RESOURCE}), "algorithms": frozenset({"ES256"})}
    return IssuerPolicy(**(usual | changed))


class Paper:
    """One of paper. `documents` are what it answers by path, or an exception; `asked` is each request's path."""

    def __init__(self) -> None:
        self.key = ECKey.generate_key("P-256", {"kid": "k"})
        self.documents: dict[str, Document | Exception] = {
            METADATA: {"issuer": ISSUER, "jwks_uri": ISSUER + KEYS, "introspection_endpoint": ISSUER + INTROSPECT},
            KEYS: {"keys": [self.key.as_dict(private=False)]},
            INTROSPECT: {"active": False},
        }
        self.asked: list[str] = []
        self.requests = asyncio.Semaphore(0)
        """One for each request that came."""
        self.hold: asyncio.Event | None = None
        """Answers wait for it, where it is set."""
        self.waiting = asyncio.Event()
        """Set when an answer waits."""

    async def asked_again(self, times: int) -> None:
        """Wait until so many more requests came, which takes no time but the loop's."""
        self.requests = asyncio.Semaphore(0)
        async with asyncio.timeout(60):
            for _ in range(times):
                await self.requests.acquire()

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/realms/mcp")
        self.asked.append(path)
        self.requests.release()
        if self.hold is not None:
            self.waiting.set()
            await self.hold.wait()
        document = self.documents.get(path)
        if isinstance(document, Exception):
            raise document
        if document is None:
            return httpx.Response(404)
        text = document if isinstance(document, bytes) else msgspec.json.encode(document)
        return httpx.Response(200, stream=httpx.ByteStream(text))

    def fetcher(self) -> Fetcher:
        """What reaches it."""
        return Fetcher(transport=httpx.MockTransport(self._answer))

    def config(self, *, opaque: bool = False, keys: KeyPolicy | None = None, **changed: Any) -> AuthConfig:
        """What trusts it."""
        client = IntrospectionClient("server", "secret") if opaque else None
        return AuthConfig(
            issuers=(policy(introspects=opaque, **changed),), keys=keys or KeyPolicy(), introspection=client
        )

    def claims(self, **changed: Any) -> dict[str, Any]:
        now = int(time.time())
        usual = {
            "iss": ISSUER, "aud": RESOURCE, "exp": now + 300, "iat": now, "jti": "j", "sub": "user", "sid": "s",
            "azp": "portal", "typ": "Bearer", "scope": "mcp:read",
        }  # fmt: skip
        return {name: value for name, value in (usual | changed).items() if value is not OUT}

    def token(self, *, kid: str = "k", **changed: Any) -> str:
        """A token that it signed."""
        return signed({"alg": "ES256", "typ": "JWT", "kid": kid}, self.claims(**changed), self.key)


def signed(header: dict[str, Any], claims: dict[str, Any], key: ECKey) -> str:
    """A JWS by ES256."""
    signing_input = f"{part(header)}.{part(claims)}"
    return f"{signing_input}.{b64(JWSRegistry.algorithms['ES256'].sign(signing_input.encode(), key))}"
