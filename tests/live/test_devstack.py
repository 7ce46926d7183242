"""`devstack up` as a developer runs it: one command, pasted lines, one Ctrl-C, nothing left."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

import httpx
import pytest

from devstack.realm.model import FEATURES
from devstack.up import reaches_publishers
from tests.kit.authorities import claims, distribution
from tests.kit.imports import document, get
from tests.kit.stack import free_port

pytestmark = pytest.mark.live
BIN = Path(sys.executable).parent


def spent_s(pid: int) -> float:
    """The CPU time of a process and of all below it, those that ended among them."""
    spent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return sum(map(int, spent)) / os.sysconf("SC_CLK_TCK") + sum(spent_s(int(child)) for child in children)


class Up:
    """A running `devstack up`, its output read as it comes."""

    def __init__(self, folder: Path, *more: str, **given: str) -> None:
        self.issuer = f"http://localhost:{free_port()}/realms/mcp"
        self.resource = f"http://localhost:{free_port()}/mcp"
        self.api = f"http://localhost:{free_port()}"
        self.named = ["--issuer", self.issuer, "--resource", self.resource]
        environment = {**os.environ, "PYTHONPATH": str(Path.cwd()), **given}
        self.child = subprocess.Popen(
            [BIN / "devstack", "up", *self.named, "--api", self.api, *more],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.output = ""
        self.spent_s = 0.0
        self.said = threading.Event()
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self) -> None:
        assert self.child.stdout
        for line in self.child.stdout:
            self.output += line
            if "Ctrl-C stops everything" in line:
                self.spent_s = spent_s(self.child.pid)
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
        assert 0 < up.spent_s < 10  # of the CPU: a start is short, however busy the machine is
    found = re.search(r"curl -s [\s\S]*?}}'", up.output)
    assert found
    line = found[0]
    assert "list_products as alice, with a token that was exchanged for the API: Rooibos, Sencha" in up.output
    answered = run("sh", "-c", line, folder=tmp_path)
    assert "CUP-02" in answered, answered
    token = run(str(BIN / "devstack"), "token", "bob", "--scope", "orders:read", *up.named, folder=tmp_path).strip()
    assert token.count(".") == 2
    rotated = run(str(BIN / "devstack"), "rotate-keys", "--issuer", up.issuer, folder=tmp_path)
    assert [line.split()[0] for line in rotated.splitlines()] == ["new", "new", "former", "former"][:keys]
    fresh = run(str(BIN / "devstack"), "token", "bob", "--scope", "orders:read", *up.named, folder=tmp_path).strip()
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "list_orders"}}
    for one in (token, fresh):
        assert (
            httpx.post(up.resource, json=call, headers={"authorization": f"Bearer {one}"}, trust_env=False).status_code
            == 200
        )
    assert up.end() == 0
    assert all(map(closed, (up.issuer, up.resource, up.api)))
    audit = (tmp_path / ".devstack" / "audit.jsonl").read_text()
    assert '"tool":"list_orders"' in audit
    assert token not in audit + up.output
    # what the API says of its callers: its own audience, the person, the MCP server as the client, and no token
    subject = claims(token)["sub"]
    assert f"/orders  aud=orders-api sub={subject} azp={up.resource}" in up.output
    assert "eyJ" not in up.output


class OwnApi:
    """An API of one's own on loopback, which remembers the tokens that it was sent."""

    def __init__(self) -> None:
        self.tokens: list[str] = []
        seen = self.tokens

        class Answers(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                seen.append(self.headers["authorization"].removeprefix("Bearer "))
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.end_headers()
                self.wfile.write(b'{"items":["Dune"]}')

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


OWN = '''
from mcp_server import McpServer, Scope

server = McpServer(
    "shop",
    version="1",
    scopes=(
        Scope("shop:count", "Count the shop's things", roles=("writer",)),
        Scope("shop:look", "Look into the shop"),
        Scope("books:read", "See the books"),
    ),
)


@server.tool(scopes={"shop:look"})
async def look() -> str:
    """Look around."""
    return "NOTHING"


@server.tool(scopes={"shop:count"})
async def count() -> int:
    """Count."""
    return 3
'''


def posted(up: Up, token: str, method: str, **params: str) -> httpx.Response:
    call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    return httpx.post(up.resource, json=call, headers={"authorization": f"Bearer {token}"}, trust_env=False, timeout=20)


def token(up: Up, user: str, scope: str, folder: Path) -> str:
    return run(str(BIN / "devstack"), "token", user, "--scope", scope, *up.named, folder=folder).strip()


def test_ones_own_server_is_served_with_its_scopes_and_anew_when_it_changes(tmp_path: Path) -> None:
    """Its own API is called, too, with a token that was exchanged for it: the realm knows the audience."""
    (tmp_path / "shop.py").write_text(OWN)
    (tmp_path / "library.json").write_bytes(document({"/books": get("list_books", "books:read")}))
    with OwnApi() as api:
        stated = {"MCP_OPENAPI": "library.json", "MCP_UPSTREAM_URL": api.url, "MCP_UPSTREAM_AUDIENCE": "library-api"}
        elsewhere = {"MCP_CLIENT_ID": "another", "MCP_CLIENT_SECRET_FILE": "/nowhere"}
        _serves_and_reloads(Up(tmp_path, "--server", "shop:server", "--reload", **stated, **elsewhere), tmp_path)
        (sent,) = api.tokens
    assert (claims(sent)["aud"], claims(sent)["scope"]) == ("library-api", "books:read")


def _serves_and_reloads(up: Up, tmp_path: Path) -> None:
    try:
        assert up.said.wait(120)
        assert "list_orders" not in up.output
        assert '"shop": {"type": "http"' in up.output
        assert "aud library-api and scope books:read" in up.output
        found = re.search(r"curl -s [\s\S]*?}}'", up.output)
        assert found, up.output
        assert "Dune" in run("sh", "-c", found[0], folder=tmp_path)
        alice, bob = token(up, "alice", "shop:look", tmp_path), token(up, "bob", "shop:look shop:count", tmp_path)
        answers = [posted(up, one, "tools/call", name="count") for one in (alice, bob)]
        assert [one.status_code for one in answers] == [403, 200]
        assert "NOTHING" in posted(up, alice, "tools/call", name="look").text
        assert "reloading" not in up.output  # though the audit was written, in this very folder
        (tmp_path / "shop.py").write_text(OWN.replace("NOTHING", "SOMETHING"))
        for _ in range(600):
            with suppress(httpx.TransportError):
                if "SOMETHING" in posted(up, alice, "tools/call", name="look").text:
                    break
            up.reader.join(0.1)
        else:
            raise AssertionError(up.output)
    finally:
        code = up.end()
    assert code == 0
    assert closed(up.issuer)
    assert closed(up.resource)


def test_a_server_that_cannot_be_loaded_is_said_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import nothing_of_that_name\n")
    nowhere = [
        *("--issuer", f"http://localhost:{free_port()}/realms/mcp"),
        *("--resource", f"http://localhost:{free_port()}/mcp"),
    ]
    assert "nothing_of_that_name" in refused(tmp_path, "up", "--server", "broken:server", *nowhere)
    assert "no_module" in refused(tmp_path, "up", "--server", "no_module:server", *nowhere)


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
    assert "no such user, or wrong password: mallory" in refused(tmp_path, "token", "mallory", *up.named)
    assert "invalid_scope" in refused(tmp_path, "token", "bob", "--scope", "nosuch", *up.named)
