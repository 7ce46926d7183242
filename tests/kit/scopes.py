"""The demo server's scopes as it tells them, asked for once in a run: each asking starts a process."""

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

import msgspec

from devstack.realm.scopes import DeclaredServer, of_server


@cache
def demo() -> DeclaredServer:
    """What `mcp-server scopes` says of it."""
    return of_server()


@cache
def demo_file() -> Path:
    """The same as a file, for `--scopes`."""
    folder = tempfile.mkdtemp(prefix="scopes-")
    atexit.register(shutil.rmtree, folder)
    path = Path(folder) / "scopes.json"
    path.write_bytes(msgspec.json.encode(demo()))
    return path
