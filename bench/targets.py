"""What is measured: how each target is built, started and told which tokens are good."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
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
from bench.calls import ADD, ORDER, Call, Era
from bench.issuer import issuer_url
from bench.paths import PEERS, RESULTS
from bench.tokens import public_key_path

YARDSTICK: Final = "constant"
OURS: Final = "ours"
AUDIT: Final = RESULTS / "ours-audit.jsonl"
BATCHED: Final = "constant-batch"
UPSTREAM: Final = "upstream"
BARE: Final = "bare-client"
IMPORT: Final = "ours-import"
OPEN_IMPORT: Final = "ours-import-none"
PEER_IMPORT: Final = "fastmcp-import"
IMPORTED: Final = (UPSTREAM, BARE, IMPORT, OPEN_IMPORT, PEER_IMPORT)
SAMPLED: Final = "ours-sampled"
TRACED: Final = "ours-traced"
VARIANTS: Final = ("ours-unbegun", "ours-begun", SAMPLED, TRACED)
ASKING: Final = frozenset({BARE, IMPORT, OPEN_IMPORT, PEER_IMPORT, SAMPLED, TRACED})
"""Whose figures are of something else, or are none, where the upstream does not run."""
BEFORE: Final = "ours-before"
NAMES: Final = (YARDSTICK, OURS, "rust-sdk", "go-sdk", "python-sdk", "fastmcp", BATCHED, *IMPORTED, *VARIANTS, BEFORE)
DOCUMENT: Final = PEERS / "orders.json"


class Kind(StrEnum):
    """What a target is: tables are by kind, and so is where it runs."""

    SERVER = "a server that answers a tool of its own"
    VARIANT = "our server, with other settings or as it was"
    IMPORT = "a server that asks the upstream for each call"
    UPSTREAM = "the constant reply behind imported tools, on the core of the load"
    LOOP = "a client that asks the upstream without a server around it"


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
    kind: Kind = Kind.SERVER
    guarded: bool = True
    ready_path: str | None = None
    build: Callable[[], None] = _nothing

    @property
    def fresh_era(self) -> Era:
        """The era in which it is measured with a new token for each request."""
        return Era.MODERN if Era.MODERN in self.eras else Era.LEGACY

    @property
    def call(self) -> Call:
        """What it is asked."""
        return ORDER if self.kind is Kind.IMPORT else ADD


def port_of(base: int, name: str) -> int:
    """The issuer has the base port, the targets those above it."""
    return base + 1 + NAMES.index(name)


def audience(base: int) -> str:
    """The one audience of all tokens; a peer accepts it whatever port it listens on itself."""
    return f"http://127.0.0.1:{port_of(base, OURS)}/mcp"


def targets(base: int, before: Path | None = None) -> list[Target]:
    """All of them, the yardstick first; `before` is another tree of this project with an environment in `.venv`."""
    return [
        _constant(base, YARDSTICK),
        _constant(base, BATCHED, "chrt", "--batch", "0"),
        _ours(base),
        _peer(base, "rust-sdk", [str(RUST_BINARY)], build_rust),
        _peer(base, "go-sdk", [str(GO_BINARY)], build_go),
        _peer(base, "python-sdk", [str(PEERS_PYTHON), "-m", "bench.peers.python_sdk"], build_python),
        _peer(base, "fastmcp", [str(PEERS_PYTHON), "-m", "bench.peers.fastmcp_peer"], build_python),
        *_imports(base),
        *_variants(base),
        *([] if before is None else [_ours(base, BEFORE, Kind.VARIANT, {}, str(before / ".venv/bin/mcp-server"))]),
    ]


def named(only: str | None, base: int, before: Path | None) -> list[Target]:
    """The targets of `--only`, where `go` stands for `go-sdk`; ends the process with what is wrong with it."""
    every = targets(base, before)
    if only is None:
        return every
    words = only.split(",")
    unknown = [word for word in words if not {word, f"{word}-sdk"} & set(NAMES)]
    if unknown:
        sys.exit(f"no such target: {', '.join(unknown)}; there are {', '.join(NAMES)}")
    if BEFORE in words and before is None:
        sys.exit(f"{BEFORE} is the server of another tree: --before DIR")
    if UPSTREAM not in words and (alone := sorted(ASKING & set(words))):
        sys.exit(f"{', '.join(alone)}: these need {UPSTREAM}, which --only has to name, too")
    return [target for target in every if {target.name, target.name.removesuffix("-sdk")} & set(words)]


def _variants(base: int) -> list[Target]:
    """Our server with less and more to do: lines of calls that begin, and telemetry."""
    stated = (
        {"MCP_AUDIT_BEGUN": "off"},
        {"MCP_AUDIT_BEGUN": "before"},
        _telemetry(base, "0.01"),
        _telemetry(base, "1"),
    )
    return [_ours(base, name, Kind.VARIANT, more) for name, more in zip(VARIANTS, stated, strict=True)]


def _telemetry(base: int, share: str) -> dict[str, str]:
    """Traces and metrics, told to the constant reply on the core of the load."""
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port_of(base, UPSTREAM)}",
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": share,
    }


def _imports(base: int) -> list[Target]:
    """Tools of an imported API: the upstream first, then who calls it."""
    upstream = f"http://127.0.0.1:{port_of(base, UPSTREAM)}"
    loop = [sys.executable, "-m", "bench.peers.bare_client", f"{upstream}/orders/7?limit=5"]
    peer = [str(PEERS_PYTHON), "-m", "bench.peers.fastmcp_import"]
    return [
        _constant(base, UPSTREAM, "chrt", "--batch", "0"),
        Target(BARE, port_of(base, BARE), loop, kind=Kind.LOOP, guarded=False),
        _ours_import(base, IMPORT, {"MCP_UPSTREAM_AUDIENCE": "orders-api", "MCP_CLIENT_SECRET": "bench"}),
        _ours_import(base, OPEN_IMPORT, {"MCP_CONFIG": str(PEERS / "open.toml")}),
        _peer(base, PEER_IMPORT, peer, build_python, {"BENCH_UPSTREAM": upstream}),
    ]


def _constant(base: int, name: str, *under: str) -> Target:
    port = port_of(base, name)
    granian = [*under, project_tool("granian"), "--interface", "asgi", "--workers", "1"]
    quiet = ["--loop", "uvloop", "--log-level", "warning", "--no-ws"]
    app = "order" if name == UPSTREAM else "app"
    listen = ["--host", "127.0.0.1", "--port", str(port), f"bench.peers.constant:{app}"]
    kind = Kind.UPSTREAM if name == UPSTREAM else Kind.SERVER
    return Target(name, port, [*granian, *quiet, *listen], kind=kind, guarded=False, ready_path="/")


def _ours(
    base: int,
    name: str = OURS,
    kind: Kind = Kind.SERVER,
    stated: Mapping[str, str] | None = None,
    program: str = project_tool("mcp-server"),
) -> Target:
    command = [program, "serve", "bench.peers.ours:server"]
    environment = _of_ours(base, name) | dict(stated or {})
    return Target(name, port_of(base, name), command, environment, kind=kind, ready_path="/readyz")


def _ours_import(base: int, name: str, stated: dict[str, str]) -> Target:
    imported = {
        "MCP_OPENAPI": str(DOCUMENT),
        "MCP_UPSTREAM_URL": f"http://127.0.0.1:{port_of(base, UPSTREAM)}",
    }
    command = [project_tool("mcp-server"), "serve"]
    environment = _of_ours(base, name) | imported | stated
    return Target(name, port_of(base, name), command, environment, kind=Kind.IMPORT, ready_path="/readyz")


def _of_ours(base: int, name: str) -> dict[str, str]:
    return {
        "MCP_ISSUER": issuer_url(base),
        "MCP_RESOURCE": audience(base),
        "MCP_HOST": "127.0.0.1",
        "MCP_PORT": str(port_of(base, name)),
        "MCP_WORKERS": "1",
        "MCP_AUDIT_FILE": str(AUDIT.with_stem(f"{name}-audit")),
        "MCP_LOG_FORMAT": "json",
        "MCP_MAX_CALLS_PER_SECOND_PER_PRINCIPAL": "1e9",  # all the load comes from one caller
    }


def _peer(
    base: int,
    name: str,
    command: Sequence[str],
    build: Callable[[], None],
    further: Mapping[str, str] | None = None,
) -> Target:
    environment = {
        "BENCH_PORT": str(port_of(base, name)),
        "BENCH_ISSUER": issuer_url(base),
        "BENCH_AUDIENCE": audience(base),
        "BENCH_KEY": str(public_key_path()),
        "FASTMCP_LOG_LEVEL": "WARNING",
        "GOMAXPROCS": "1",
        **(further or {}),
    }
    kind = Kind.IMPORT if name in IMPORTED else Kind.SERVER
    return Target(name, port_of(base, name), command, environment, kind=kind, build=build)
