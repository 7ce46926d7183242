"""Builds the compiled peers and the Python peers' environment, only when their sources changed."""

import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.paths import BUILD, PEERS

GO_BINARY: Final = BUILD / "go-peer"
RUST_BINARY: Final = BUILD / "rust" / "release" / "bench-peer"
PEERS_PYTHON: Final = BUILD / "peers-venv" / "bin" / "python"


class BuildError(Exception):
    """A peer could not be built; the message has the end of what the tool said."""


def build_go() -> None:
    """The Go peer."""
    sources = [PEERS / "go" / name for name in ("go.mod", "go.sum", "main.go")]
    if _stale(GO_BINARY, sources):
        _run("go-sdk", ["go", "build", "-o", str(GO_BINARY), "."], PEERS / "go")


def build_rust() -> None:
    """The Rust peer, optimised across crates."""
    sources = [PEERS / "rust" / "Cargo.toml", PEERS / "rust" / "src" / "main.rs"]
    if _stale(RUST_BINARY, sources):
        target = ["--target-dir", str(BUILD / "rust")]
        _run("rust-sdk", ["cargo", "build", "--release", *target], PEERS / "rust")
        RUST_BINARY.touch()


def build_python() -> None:
    """The environment of the Python peers, apart from this project's own."""
    requirements = PEERS / "requirements.txt"
    made = BUILD / "peers-venv" / "made"
    if _stale(made, [requirements]):
        venv.create(BUILD / "peers-venv", with_pip=True, clear=True)
        install = [str(PEERS_PYTHON), "-m", "pip", "install", "--quiet", "--requirement"]
        _run("python peers", [*install, str(requirements)], PEERS)
        made.touch()


def _stale(product: Path, sources: Sequence[Path]) -> bool:
    if not product.exists():
        return True
    return product.stat().st_mtime < max(source.stat().st_mtime for source in sources)


def _run(what: str, command: Sequence[str], folder: Path) -> None:
    print(f"building {what} (kept for the next runs)", flush=True)
    BUILD.mkdir(parents=True, exist_ok=True)
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except OSError as error:
        raise BuildError(f"{command[0]}: {error.strerror}") from error
    if done.returncode != 0:
        raise BuildError(f"{command[0]} failed: {done.stderr.strip()[-400:]}")


def project_tool(name: str) -> str:
    """A command of the environment that the harness itself runs in."""
    return str(Path(sys.executable).parent / name)
