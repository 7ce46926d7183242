"""What the harness tells a Python peer: its port and which tokens to accept."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import uvicorn

SCOPE: Final = "mcp:read"


class Surroundings(NamedTuple):
    """One peer's port, the issuer and audience of good tokens, and the issuer's public key (PEM)."""

    port: int
    issuer: str
    audience: str
    public_key: bytes


def surroundings() -> Surroundings:
    """Read them from the environment that the harness sets."""
    return Surroundings(
        port=int(os.environ["BENCH_PORT"]),
        issuer=os.environ["BENCH_ISSUER"],
        audience=os.environ["BENCH_AUDIENCE"],
        public_key=Path(os.environ["BENCH_KEY"]).read_bytes(),
    )


def serve(app: Callable[..., Any], around: Surroundings) -> None:
    """Serve until terminated, by the web server that these peers come with."""
    uvicorn.run(app, host="127.0.0.1", port=around.port, log_level="warning", access_log=False)
