"""`kc.sh start` without a JVM: the embedded issuer where Keycloak would listen, with the realm that was laid for it.

For tests of what starts and ends a Keycloak. That a real one starts so, `tests/live/test_devstack.py` holds.
"""

import asyncio
import os
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

from granian.constants import Interfaces
from granian.server.embed import Server

from devstack.authserver.app import create
from devstack.realm.model import read


def installed(folder: Path) -> dict[str, str]:
    """A distribution and a JVM in a folder, and the environment that names them."""
    java = _program(folder / "java" / "bin" / "java", "echo 'openjdk version \"21.0.1\"' >&2")
    command = shlex.join([sys.executable, "-m", __name__])
    _program(folder / "kc" / "bin" / "kc.sh", f'[ "$1" = build ] || exec {command} "$(dirname "$0")/.." "$@"')
    named = {"KEYCLOAK_HOME": folder / "kc", "JAVA_HOME": java.parents[1], "XDG_CACHE_HOME": folder / "cache"}
    return {name: str(path) for name, path in named.items()}


def _program(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


async def _ready(scope: Any, _receive: Any, send: Any) -> None:
    """The management interface: ready since it listens."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})


async def _serve(home: Path, options: dict[str, str]) -> None:
    issuer, file = f"{options['hostname']}/realms/mcp", home / "data" / "import" / "mcp-realm.json"
    app, _ = create(read(issuer, os.environ["MCP_RESOURCE_URL"], (), file=file))
    ports = ((app, options["http-port"]), (_ready, options["http-management-port"]))
    servers = [
        Server(one, address="127.0.0.1", port=int(port), interface=Interfaces.ASGI, log_enabled=False)
        for one, port in ports
    ]
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, lambda: [one.stop() for one in servers])  # type: ignore[no-untyped-call]
    await asyncio.gather(*(one.serve() for one in servers))


if __name__ == "__main__":
    given = dict(one.removeprefix("--").split("=", 1) for one in sys.argv[2:] if "=" in one)
    asyncio.run(_serve(Path(sys.argv[1]), given))
