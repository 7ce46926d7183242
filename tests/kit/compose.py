"""The compose file as it stands, brought up under a project name of its own."""

import json
import os
import shutil
import ssl
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

ROOT = Path(__file__).parents[2]
WAIT_S = 300
ENV_FILE = os.environ.get("COMPOSE_TEST_ENV", os.devnull)
"""What `.env` says on this machine for every project: other images, where the public ones are not to be had."""


class Compose(msgspec.Struct):
    """One project; `environment` is what `.env` would hold."""

    project: str
    environment: dict[str, str]
    profiles: tuple[str, ...] = ()

    def run(self, *arguments: str, check: bool = True, within_s: float = WAIT_S) -> subprocess.CompletedProcess[str]:
        """A `docker compose` command; what it printed."""
        named = [
            *("--project-name", self.project, "--env-file", ENV_FILE),
            *(f"--profile={one}" for one in self.profiles),
        ]
        return docker("compose", *named, *arguments, check=check, within_s=within_s, environment=self.environment)

    def up(self, *arguments: str) -> None:
        """Up and healthy, or a failure with every service's last lines."""
        done = self.run("up", "--detach", "--wait", "--wait-timeout", "240", *arguments, check=False)
        if done.returncode:
            raise AssertionError(done.stderr[-2000:] + self.run("logs", "--tail", "40", check=False).stdout[-6000:])

    def containers(self, service: str) -> list[str]:
        """The ids of a service's containers, ended ones too."""
        return self.run("ps", "--all", "--quiet", service).stdout.split()

    def inspect(self, service: str) -> dict[str, Any]:
        """What Docker knows of a service's first container."""
        found: dict[str, Any] = json.loads(docker("inspect", self.containers(service)[0]).stdout)[0]
        return found

    def down(self) -> None:
        """Everything away, volumes too."""
        self.run("--profile=*", "down", "--volumes", "--timeout", "20", "--remove-orphans")

    def authority(self, folder: Path) -> ssl.SSLContext:
        """A client's trust in the certificate that was made for this machine, and in nothing else."""
        self.run("cp", "certificates:/certificates/ca.pem", str(folder / "ca.pem"))
        return ssl.create_default_context(cafile=str(folder / "ca.pem"))


def docker(
    *arguments: str, check: bool = True, within_s: float = WAIT_S, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """A `docker` command; raises with what it said where it fails."""
    whole = {**os.environ, **(environment or {})}
    done = subprocess.run(
        ["docker", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=within_s, check=False, env=whole
    )
    if check and done.returncode:
        raise AssertionError(f"docker {' '.join(arguments)}: {done.stderr[-3000:]}")
    return done


def needs_engine() -> None:
    """Skip where no Docker engine runs, but in CI."""
    missing = shutil.which("docker") is None or docker("compose", "version", check=False).returncode
    if missing or docker("info", check=False).returncode:
        if os.environ.get("CI"):
            raise AssertionError("CI has a Docker engine: see .ci/run")
        pytest.skip("no Docker engine runs here")
