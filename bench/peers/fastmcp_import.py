"""FastMCP's `from_openapi` as a peer: its own client, its own JWT verifier, stateless, JSON answers, uvicorn."""

import json
import os
from pathlib import Path

import httpx2
import uvicorn
from fastmcp import FastMCP

from bench.peers.fastmcp_peer import verifier
from bench.peers.surroundings import surroundings

DOCUMENT = Path(__file__).with_name("orders.json")


def main() -> None:
    """Serve until terminated."""
    around = surroundings()
    server = FastMCP.from_openapi(
        json.loads(DOCUMENT.read_text()),
        client=httpx2.AsyncClient(base_url=os.environ["BENCH_UPSTREAM"], headers={"authorization": "Bearer x"}),
        auth=verifier(around),
    )
    app = server.http_app(path="/mcp", stateless_http=True, json_response=True)
    uvicorn.run(app, host="127.0.0.1", port=around.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
