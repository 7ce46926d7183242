"""FastMCP with the counting tool: its own JWT verifier, stateless, JSON answers, uvicorn."""

import uvicorn
from fastmcp import FastMCP
from fastmcp.server.auth.providers.jwt import JWTVerifier

from bench.peers.surroundings import SCOPE, surroundings
from tests.operate.tally import counted


async def work(call: str, seconds: float) -> str:
    """Take so many seconds."""
    return await counted(call, seconds)


def main() -> None:
    """Serve until terminated."""
    around = surroundings()
    verifier = JWTVerifier(
        public_key=around.public_key.decode(),
        issuer=around.issuer,
        audience=around.audience,
        algorithm="RS256",
        required_scopes=[SCOPE],
    )
    server = FastMCP("operate", version="1.0.0", auth=verifier)
    server.tool(work)
    app = server.http_app(path="/mcp", stateless_http=True, json_response=True)
    uvicorn.run(app, host="127.0.0.1", port=around.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
