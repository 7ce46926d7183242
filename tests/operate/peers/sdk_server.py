"""The official Python SDK with the counting tool: the benchmark's verifier, stateless, JSON answers, uvicorn."""

import uvicorn
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import MCPServer
from pydantic import AnyHttpUrl

from bench.peers.python_sdk import JwtVerifier
from bench.peers.surroundings import SCOPE, surroundings
from tests.operate.tally import counted


async def work(call: str, seconds: float) -> str:
    """Take so many seconds."""
    return await counted(call, seconds)


def main() -> None:
    """Serve until terminated."""
    around = surroundings()
    auth = AuthSettings(
        issuer_url=AnyHttpUrl(around.issuer),
        resource_server_url=AnyHttpUrl(around.audience),
        required_scopes=[SCOPE],
        validate_token_resource=False,
    )
    server = MCPServer("operate", version="1.0.0", token_verifier=JwtVerifier(around), auth=auth, log_level="WARNING")
    server.add_tool(work)
    app = server.streamable_http_app(stateless_http=True, json_response=True)
    uvicorn.run(app, host="127.0.0.1", port=around.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
