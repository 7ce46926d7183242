"""Which release of each peer a run measured, as its own manifest pins it."""

import re
import tomllib
from importlib.metadata import version

from bench.paths import PEERS, ROOT


def versions() -> dict[str, str]:
    """Target by target."""
    ours = _found(r'= "([^"]+)"', (ROOT / "mcp_server" / "version.py").read_text())
    cargo = tomllib.loads((PEERS / "rust" / "Cargo.toml").read_text())
    return {
        "constant": version("granian"),
        "constant-batch": version("granian"),
        "ours": ours,
        "rust-sdk": cargo["dependencies"]["rmcp"]["version"].lstrip("="),
        "go-sdk": _found(r"/go-sdk v(\S+)", (PEERS / "go" / "go.mod").read_text()),
        "python-sdk": _pinned("mcp"),
        "fastmcp": _pinned("fastmcp"),
        "upstream": version("granian"),
        "bare-client": version("aiohttp"),
        "ours-import": ours,
        "ours-import-none": ours,
        "fastmcp-import": _pinned("fastmcp"),
    }


def _pinned(package: str) -> str:
    return _found(rf"(?m)^{package}==(\S+)$", (PEERS / "requirements.txt").read_text())


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    return match[1] if match else "?"
