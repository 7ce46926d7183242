"""The official Python SDK with the counting tool: the benchmark's verifier, stateless, JSON answers, uvicorn."""

from bench.peers.python_sdk import sdk_server, serve_sdk
from bench.peers.surroundings import surroundings
from tests.operate.tally import counted


async def work(call: str, seconds: float) -> str:
    """Take so many seconds."""
    return await counted(call, seconds)


def main() -> None:
    """Serve until terminated."""
    around = surroundings()
    server = sdk_server("operate", around)
    server.add_tool(work)
    serve_sdk(server, around)


if __name__ == "__main__":
    main()
