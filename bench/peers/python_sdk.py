"""The official Python SDK as a peer: PyJWT behind its token verifier, stateless, JSON, uvicorn."""

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from mcp.server.auth.provider import AccessToken, TokenVerifier
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import MCPServer
from pydantic import AnyHttpUrl, BaseModel

from bench.peers.surroundings import SCOPE, Surroundings, serve, surroundings


class Sum(BaseModel):
    """What `add` answers."""

    total: int


class JwtVerifier(TokenVerifier):
    """Accepts RS256 tokens of one issuer for one audience; the SDK leaves this to its user."""

    def __init__(self, around: Surroundings) -> None:
        key = load_pem_public_key(around.public_key)
        if not isinstance(key, RSAPublicKey):
            raise TypeError("the issuer's key is not an RSA key")
        self._key = key
        self._around = around

    async def verify_token(self, token: str) -> AccessToken | None:
        """The token's claims in the SDK's words, or None when it is not acceptable."""
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=["RS256"],
                issuer=self._around.issuer,
                audience=self._around.audience,
                options={"require": ["exp", "iss", "aud"]},
            )
        except jwt.InvalidTokenError:
            return None
        return AccessToken(
            token=token,
            client_id=claims["azp"],
            scopes=claims["scope"].split(),
            expires_at=claims["exp"],
            resource=self._around.audience,
            subject=claims["sub"],
            claims=claims,
        )


async def add(a: int, b: int) -> Sum:
    """Add two numbers."""
    return Sum(total=a + b)


def sdk_server(name: str, around: Surroundings) -> MCPServer:
    """A server of no tools yet, which asks for tokens."""
    auth = AuthSettings(
        issuer_url=AnyHttpUrl(around.issuer),
        resource_server_url=AnyHttpUrl(around.audience),
        required_scopes=[SCOPE],
        validate_token_resource=False,
    )
    return MCPServer(name, version="1.0.0", token_verifier=JwtVerifier(around), auth=auth, log_level="WARNING")


def serve_sdk(server: MCPServer, around: Surroundings) -> None:
    """Serve it until terminated."""
    serve(server.streamable_http_app(stateless_http=True, json_response=True), around)


def main() -> None:
    """Serve until terminated."""
    around = surroundings()
    server = sdk_server("bench", around)
    server.add_tool(add)
    serve_sdk(server, around)


if __name__ == "__main__":
    main()
