"""A running Keycloak: a copy of the built distribution in a folder of its own, with the realm imported."""

import hashlib
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Final

import msgspec

from devstack.keycloak.distribution import java
from devstack.processes import port_of

ADMIN: Final = ("admin", "admin")
"""The first administrator of a Keycloak for development, which listens on loopback alone."""
TYPICAL_START_S: Final = 15.0
READY_S: Final = 300.0
STOP_S: Final = 20.0


class Instance(msgspec.Struct, kw_only=True):
    """Where a Keycloak lives and its options.

    `origin` is its public address, on loopback, and `port` where it listens when something stands in front of that;
    `environment` fills the realm's placeholders (`MCP_RESOURCE_URL`, ...).
    """

    home: Path
    origin: str
    management_port: int
    environment: Mapping[str, str] = {}
    port: int | None = None
    process: subprocess.Popen[bytes] | None = None

    @property
    def ready_url(self) -> str:
        """Answers 200 when logins work."""
        return f"http://127.0.0.1:{self.management_port}/health/ready"

    def install(self, built: Path, *realms: bytes) -> None:
        """Lay the folder: a copy of `built`, the realms to import; what older ones left is wiped."""
        told = "\n".join(f"{name}={value}" for name, value in sorted(self.environment.items())).encode()
        mark = hashlib.sha256(b"\0".join((str(built).encode(), self.origin.encode(), told, *realms))).hexdigest()
        marker = self.home / ".realm"
        if marker.exists() and marker.read_text() == mark:
            return
        shutil.rmtree(self.home, ignore_errors=True)
        shutil.copytree(built, self.home, symlinks=True)
        folder = self.home / "data" / "import"
        folder.mkdir(parents=True)
        for one in realms:  # Keycloak wants the file to bear the realm's name
            (folder / f"{msgspec.json.decode(one)['realm']}-realm.json").write_bytes(one)
        marker.write_text(mark)

    def start(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start it, in a process group of its own; `ready_url` tells when it is up."""
        port = self.port or port_of(self.origin)
        user, password = ADMIN
        self.process = subprocess.Popen(  # nosec B603 # noqa: S603 - the distribution that was installed
            [
                *(str(self.home / "bin" / "kc.sh"), "start", "--optimized", "--import-realm", "--http-enabled=true"),
                *("--http-host=127.0.0.1", f"--http-port={port}", f"--http-management-port={self.management_port}"),
                *(f"--hostname={self.origin}", "--hostname-backchannel-dynamic=true"),
            ],
            env={
                "JAVA_OPTS_KC_HEAP": "-Xms64m -Xmx512m",
                "JAVA_OPTS_APPEND": "-XX:TieredStopAtLevel=1",  # a developer waits for the start, not for the peak
                **os.environ,
                "JAVA": java(),
                "KC_CACHE": "local",
                "KC_BOOTSTRAP_ADMIN_USERNAME": user,
                "KC_BOOTSTRAP_ADMIN_PASSWORD": password,
                **self.environment,
            },
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        return self.process

    def stop(self) -> None:
        """End it and wait for its end."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.process = None
