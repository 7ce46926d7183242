"""What is measured: how each target is built, started and told which tokens are good."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from bench.build import (
    GO_BINARY,
    PEERS_PYTHON,
    RUST_BINARY,
    build_go,
    build_python,
    build_rust,
    project_tool,
)
from bench.calls import Era
from bench.issuer import issuer_url
from bench.paths import RESULTS
from bench.tokens import public_key_path

YARDSTICK: Final = "constant"
OURS: Final = "ours"
AUDIT: Final = RESULTS / "ours-audit.jsonl"
BATCHED: Final = "constant-batch"
NAMES: Final = (YARDSTICK, OURS, "rust-sdk", "go-sdk", "python-sdk", "fastmcp", BATCHED)


def _nothing() -> None:
    """Such a target has nothing to build."""


@dataclass(frozen=True)
class Target:
    """One server: `eras` are those it speaks, and a failure in one of them is an error."""

    name: str
    port: int
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    eras: Sequence[Era] = (Era.LEGACY, Era.MODERN)
    guarded: bool = True
    ready_path: str | None = None
    build: Callable[[], None] = _nothing

    @property
    def fresh_era(self) -> Era:
        """The era in which it is measured with a new token for each request."""
        return Era.MODERN if Era.MODERN in self.eras else Era.LEGACY


def port_of(base: int, name: str) -> int:
    """The issuer has the base port, the targets those above it."""
    return base + 1 + NAMES.index(name)


def audience(base: int) -> str:
    """The one audience of all tokens; a peer accepts it whatever port it listens on itself."""
    return f"http://127.0.0.1:{port_of(base, OURS)}/mcp"


def targets(base: int) -> list[Target]:
    """All of them, the yardstick first."""
    return [
        _constant(base, YARDSTICK),
        _constant(base, BATCHED, "chrt", "--batch", "0"),
        _ours(base),
        _peer(base, "rust-sdk", [str(RUST_BINARY)], build_rust),
        _peer(base, "go-sdk", [str(GO_BINARY)], build_go),
        _peer(base, "python-sdk", [str(PEERS_PYTHON), "-m", "bench.peers.python_sdk"], build_python),
        _peer(base, "fastmcp", [str(PEERS_PYTHON), "-m", "bench.peers.fastmcp_peer"], build_python),
    ]


def _constant(base: int, name: str, *under: str) -> Target:
    port = port_of(base, name)
    granian = [*under, project_tool("granian"), "--interface", "asgi", "--workers", "1"]
    quiet = ["--loop", "uvloop", "--log-level", "warning", "--no-ws"]
    listen = ["--host", "127.0.0.1", "--port", str(port), "bench.peers.constant:app"]
    return Target(name, port, [*granian, *quiet, *listen], guarded=False)


def _ours(base: int) -> Target:
    environment = {
        "MCP_ISSUER": issuer_url(base),
        "MCP_RESOURCE": audience(base),
        "MCP_HOST": "127.0.0.1",
        "MCP_PORT": str(port_of(base, OURS)),
        "MCP_WORKERS": "1",
        "MCP_AUDIT_FILE": str(AUDIT),
        "MCP_LOG_FORMAT": "json",
        "MCP_MAX_CALLS_PER_SECOND_PER_PRINCIPAL": "1e9",  # all the load comes from one caller
    }
    command = [project_tool("mcp-server"), "serve", "bench.peers.ours:server"]
    return Target(OURS, port_of(base, OURS), command, environment, ready_path="/readyz")


def _peer(base: int, name: str, command: Sequence[str], build: Callable[[], None]) -> Target:
    environment = {
        "BENCH_PORT": str(port_of(base, name)),
        "BENCH_ISSUER": issuer_url(base),
        "BENCH_AUDIENCE": audience(base),
        "BENCH_KEY": str(public_key_path()),
        "FASTMCP_LOG_LEVEL": "WARNING",
        "GOMAXPROCS": "1",
    }
    return Target(name, port_of(base, name), command, environment, build=build)
