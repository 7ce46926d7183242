"""The image of a deployment: small, without tools, started in a moment, one user without a name."""

import json
import time
from collections.abc import Iterator

import httpx
import pytest
from dotenv import dotenv_values

from release import images, lock, sbom
from tests.kit.compose import ENV_FILE, docker, needs_engine
from tests.kit.stack import free_port

pytestmark = pytest.mark.live
IMAGE = "mcp-server-test"
MAX_LAYERS_MB = 150  # what calls imported APIs, and reads their documents, has 13 of it; telemetry has 13
START_S = 5.0


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    needs_engine()
    given = dotenv_values(ENV_FILE).get("STACK_PYTHON_IMAGE")
    base = ["--build-arg", f"PYTHON_IMAGE={given}"] if given else []
    docker(
        *("build", "--quiet", "--file", "devstack/docker/Dockerfile", "--target", "runtime", *base, "--tag", IMAGE, ".")
    )
    yield IMAGE
    docker("image", "rm", "--force", IMAGE)


def test_our_layers_are_small(image: str) -> None:
    ours = json.loads(docker("image", "inspect", image).stdout)[0]
    base = json.loads(
        docker("image", "inspect", ours["Config"]["Labels"]["org.opencontainers.image.base.name"]).stdout
    )[0]
    assert (ours["Size"] - base["Size"]) / 1e6 < MAX_LAYERS_MB
    labels = ours["Config"]["Labels"]
    assert labels["org.opencontainers.image.title"] == "mcp-server"
    assert {"licenses", "version", "revision", "base.name"} <= {
        name.removeprefix("org.opencontainers.image.") for name in labels
    }
    assert ours["Config"]["User"] == "10001:10001"


def test_nothing_is_left_of_the_build(image: str) -> None:
    look = "ls -d /app/bin/pip /root/.cache /tmp/* /app/lib/*/site-packages/pip /app/lib/*/site-packages/hatchling /usr/bin/gcc"
    found = docker("run", "--rm", "--entrypoint", "sh", image, "-c", f"{look} 2>/dev/null; find /app -writable | head")
    assert found.stdout == ""
    devstack = docker("run", "--rm", "--entrypoint", "python", image, "-c", "import devstack", check=False)
    assert "ModuleNotFoundError" in devstack.stderr


def test_what_is_in_it_is_what_is_locked(image: str) -> None:
    """Its bill of materials: Debian's packages, and of Python's what the lock has, but for what was left behind."""
    installed = images.python_packages(image)
    base = f"python:3.13-slim@sha256:{'0' * 64}"
    bill = sbom.of_image(sbom.of_lock(), base, installed, images.debian_packages(image), lock.read())
    kinds = [one.get("purl", "").partition("/")[0] for one in bill["components"]]
    assert kinds.count("pkg:pypi") == len(installed) > 30
    assert kinds.count("pkg:deb") > 50
    assert {"litestar", "joserfc"} <= installed.keys()
    assert "polyfactory" not in installed


@pytest.mark.alone
def test_it_starts_in_a_moment(image: str) -> None:
    """From `docker run` to the first answer, with a server mounted as a team would copy its own."""
    port = free_port()
    began = time.monotonic()
    container = docker(
        *("run", "--detach", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--publish", f"127.0.0.1:{port}:8000"),
        *("--env", "MCP_ISSUER=http://localhost:1/realms/mcp", "--volume", f"{__file__.rpartition('/tests/')[0]}/bench/peers:/app/server/shop:ro"),
        *(image, "serve", "shop.ours:server"),
    ).stdout.strip()  # fmt: skip
    try:
        with httpx.Client(trust_env=False, timeout=1) as http:
            while True:
                try:
                    if http.get(f"http://127.0.0.1:{port}/healthz").status_code == 200:
                        break
                except httpx.TransportError:
                    assert time.monotonic() - began < 20, docker("logs", container).stderr
        assert time.monotonic() - began < START_S
        assert "mcp-server, version" in docker("exec", container, "mcp-server", "--version").stdout
    finally:
        docker("stop", container)
        state = json.loads(docker("inspect", container).stdout)[0]["State"]
        docker("rm", container)
    assert state["ExitCode"] == 0
