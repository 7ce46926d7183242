"""FastMCP as a peer: its own JWT verifier, stateless, JSON answers, uvicorn."""

from fastmcp import FastMCP
from fastmcp.server.auth.providers.jwt import JWTVerifier
from pydantic import BaseModel

from bench.peers.surroundings import SCOPE, Surroundings, serve, surroundings


class Sum(BaseModel):
    """What `add` answers."""

    total: int


async def add(a: int, b: int) -> Sum:
    """Add two numbers."""
    return Sum(total=a + b)


def serve_fastmcp(server: FastMCP, around: Surroundings) -> None:
    """Serve it until terminated."""
    serve(server.http_app(path="/mcp", stateless_http=True, json_response=True), around)


def verifier(around: Surroundings) -> JWTVerifier:
    """FastMCP's own, with the key at hand: nothing is fetched while it is measured."""
    return JWTVerifier(
        public_key=around.public_key.decode(),
        issuer=around.issuer,
        audience=around.audience,
        algorithm="RS256",
        required_scopes=[SCOPE],
    )


def main() -> None:
    """Serve until terminated."""
    around = surroundings()
    server = FastMCP("bench", version="1.0.0", auth=verifier(around))
    server.tool(add)
    serve_fastmcp(server, around)


if __name__ == "__main__":
    main()
