"""Wheel and source archive, the same bytes each time: files and times are those of the commit."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from release.lock import ROOT


def commit() -> str:
    """The commit that is checked out."""
    return _git("rev-parse", "HEAD")


def epoch(root: Path = ROOT) -> int:
    """When it was made, unless SOURCE_DATE_EPOCH says otherwise."""
    return int(os.environ.get("SOURCE_DATE_EPOCH") or _git("log", "-1", "--format=%ct", root=root))


def build(folder: Path, kinds: Sequence[str] = ("wheel", "sdist"), root: Path = ROOT) -> list[Path]:
    """Build into an empty folder; nothing is fetched, for the build's own packages are in the lock.

    It is built in a clone: what lies beside the sources and was not committed, a signing key for one, would be packed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder.resolve())]
    command += [part for kind in kinds for part in ("-t", kind)]
    environment = os.environ | {"SOURCE_DATE_EPOCH": str(epoch(root))}
    with tempfile.TemporaryDirectory() as sources:
        _git("clone", "--quiet", "--shared", ".", sources, root=root)
        subprocess.run(command, cwd=sources, env=environment, check=True, capture_output=True)  # nosec B603 # noqa: S603 - our own tools
    return sorted(folder.iterdir())


def unlike(one: Path, other: Path) -> list[str]:
    """The files of two builds that are not the same."""
    names = {path.name for folder in (one, other) for path in folder.iterdir()}
    return sorted(name for name in names if _bytes(one / name) != _bytes(other / name))


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _git(*arguments: str, root: Path = ROOT) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True)  # nosec B603, B607 # noqa: S603, S607 - the maintainer's own
    return done.stdout.strip()
