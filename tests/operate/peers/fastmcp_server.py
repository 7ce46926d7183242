"""FastMCP with the counting tool: the benchmark's verifier, stateless, JSON answers, uvicorn."""

from fastmcp import FastMCP

from bench.peers.fastmcp_peer import serve_fastmcp, verifier
from bench.peers.surroundings import surroundings
from tests.operate.tally import counted


async def work(call: str, seconds: float) -> str:
    """Take so many seconds."""
    return await counted(call, seconds)


def main() -> None:
    """Serve until terminated."""
    around = surroundings()
    server = FastMCP("operate", version="1.0.0", auth=verifier(around))
    server.tool(work)
    serve_fastmcp(server, around)


if __name__ == "__main__":
    main()
