"""FastMCP's `from_openapi` as a peer: its own client, its own JWT verifier, stateless, JSON answers, uvicorn."""

import json
import os
from pathlib import Path

import httpx2
from fastmcp import FastMCP

from bench.peers.fastmcp_peer import serve_fastmcp, verifier
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
    serve_fastmcp(server, around)


if __name__ == "__main__":
    main()
