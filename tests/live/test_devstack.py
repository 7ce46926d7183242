"""`devstack up` as a developer runs it: one command, pasted lines, one Ctrl-C, nothing left."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from devstack.realm.model import FEATURES
from devstack.up import reaches_publishers
from tests.kit.authorities import distribution
from tests.kit.stack import free_port

pytestmark = pytest.mark.live
BIN = Path(sys.executable).parent


class Up:
    """A running `devstack up`, its output read as it comes."""

    def __init__(self, folder: Path, *more: str) -> None:
        self.issuer = f"http://localhost:{free_port()}/realms/mcp"
        self.resource = f"http://localhost:{free_port()}/mcp"
        self.named = ["--issuer", self.issuer, "--resource", self.resource]
        environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
        self.child = subprocess.Popen(
            [BIN / "devstack", "up", *self.named, *more],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.output = ""
        self.began = self.ready = time.monotonic()
        self.said = threading.Event()
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self) -> None:
        assert self.child.stdout
        for line in self.child.stdout:
            self.output += line
            if "Ctrl-C stops everything" in line:
                self.ready = time.monotonic()
                self.said.set()
        self.child.stdout.close()
        self.said.set()

    def end(self, how: signal.Signals = signal.SIGINT) -> int:
        self.child.send_signal(how)
        code = self.child.wait(30)
        self.reader.join(10)
        return code


@pytest.fixture(params=[()])
def up(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Up]:
    if "--keycloak" in request.param:
        distribution(FEATURES if reaches_publishers() else ())
    running = Up(tmp_path, *request.param)
    assert running.said.wait(300), running.output
    yield running
    if running.child.poll() is None:
        running.end(signal.SIGTERM)


def run(*command: str, folder: Path) -> str:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=True).stdout


def closed(url: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", httpx.URL(url).port or 80)) != 0


@pytest.mark.parametrize(("up", "keys"), [((), 4), (("--keycloak",), 2)], indirect=["up"])
def test_what_it_prints_works_when_pasted_and_nothing_is_left(up: Up, keys: int, tmp_path: Path) -> None:
    assert all(word in up.output for word in (up.resource, up.issuer, "alice", "bob", "carol", "development only"))
    if "Keycloak" not in up.output:
        assert up.ready - up.began < 5
    found = re.search(r"curl -s [\s\S]*?}}'", up.output)
    assert found
    line = found[0].replace(".venv/bin/devstack", f"{BIN}/devstack")
    assert "teapot" in run("sh", "-c", line, folder=tmp_path)
    token = run(str(BIN / "devstack"), "token", "bob", "--scope", "mcp:write", *up.named, folder=tmp_path).strip()
    assert token.count(".") == 2
    rotated = run(str(BIN / "devstack"), "rotate-keys", "--issuer", up.issuer, folder=tmp_path)
    assert len(rotated.split()) == keys
    fresh = run(str(BIN / "devstack"), "token", "bob", "--scope", "mcp:write", *up.named, folder=tmp_path).strip()
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "list_orders"}}
    for one in (token, fresh):
        assert (
            httpx.post(up.resource, json=call, headers={"authorization": f"Bearer {one}"}, trust_env=False).status_code
            == 200
        )
    assert up.end() == 0
    assert closed(up.issuer)
    assert closed(up.resource)
    audit = (tmp_path / ".devstack" / "audit.jsonl").read_text()
    assert '"tool":"list_orders"' in audit
    assert token not in audit + up.output


def refused(folder: Path, *arguments: str) -> str:
    """What devstack says on standard error when it ends with status 1."""
    found = subprocess.run(
        [BIN / "devstack", *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert found.returncode == 1
    return found.stderr


def test_a_port_in_use_is_said_plainly(up: Up, tmp_path: Path) -> None:
    assert f"port {httpx.URL(up.issuer).port} is in use" in refused(tmp_path, "up", *up.named)


def test_a_child_that_ends_ends_the_rest(tmp_path: Path) -> None:
    running = Up(tmp_path)
    assert running.said.wait(60)
    children = subprocess.run(
        ["pgrep", "-P", str(running.child.pid)], capture_output=True, text=True, check=True
    ).stdout.split()
    os.kill(int(children[0]), signal.SIGTERM)
    assert running.child.wait(30) == 1
    running.reader.join(10)
    assert "ended" in running.output
    assert closed(running.resource)


def test_keycloaks_issuer_and_features_are_checked_first(tmp_path: Path) -> None:
    distribution(FEATURES)
    elsewhere = [
        "--issuer",
        f"http://localhost:{free_port()}/realms/other",
        "--resource",
        f"http://localhost:{free_port()}/mcp",
    ]
    assert "/realms/mcp" in refused(tmp_path, "up", "--keycloak", *elsewhere)
    found = subprocess.run([BIN / "devstack", "up", "--features", "x"], cwd=tmp_path, capture_output=True, check=False)
    assert (found.returncode, b"resource-indicators" in found.stderr) == (2, True)


def test_without_a_stack_the_commands_say_what_to_do(tmp_path: Path) -> None:
    nowhere = ["--issuer", f"http://localhost:{free_port()}/realms/mcp"]
    for command in (["token", "alice"], ["rotate-keys"]):
        assert "devstack up" in refused(tmp_path, *command, *nowhere)


def test_a_user_who_does_not_exist_gets_no_token(up: Up, tmp_path: Path) -> None:
    assert "Invalid username" in refused(tmp_path, "token", "mallory", *up.named)
    assert "invalid_scope" in refused(tmp_path, "token", "bob", "--scope", "nosuch", *up.named)
