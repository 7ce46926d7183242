"""Where a run took place, as the report says it: no name and no path of this machine."""

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from mcp_server.version import __version__
from tests.kit.served import ROOT


def described() -> list[tuple[str, str]]:
    """What a reader needs to compare figures."""
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    kib = int(memory[1]) if memory else 0
    return [
        ("revision", _first(("git", "describe", "--always", "--dirty", "--abbrev=12"))),
        ("mcp-server", __version__),
        ("machine", f"{os.cpu_count()} cores, {kib / 2**20:.0f} GiB, {platform.machine()}, Linux {_kernel()}"),
        ("Python", platform.python_version()),
        *((name, _version(name)) for name in ("granian", "uvloop", "litestar", "redis", "aiohttp", "fastmcp", "mcp")),
        ("haproxy", _number(("haproxy", "-v"))),
        ("Redis", _number((shutil.which("valkey-server") or "redis-server", "--version"))),
    ]


def _kernel() -> str:
    found = re.match(r"\d+\.\d+", platform.release())
    return found[0] if found else "?"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not there"


def _number(command: Sequence[str]) -> str:
    found = re.search(r"\d+\.\d+\.\d+", _first(command))
    return found[0] if found else "not there"


def _first(command: Sequence[str]) -> str:
    path = f"{os.environ['PATH']}:/usr/sbin"
    try:
        done = subprocess.run(command, cwd=ROOT, env={"PATH": path}, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return (done.stdout or done.stderr).partition("\n")[0].strip()
