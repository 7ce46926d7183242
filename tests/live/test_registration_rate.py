"""The proxy in front of Keycloak, as compose has it, on loopback: how often strangers may register."""

import http.server
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.kit.background import served_in_a_thread
from tests.kit.stack import free_port

TEMPLATE = Path(__file__).parents[2] / "devstack" / "nginx" / "keycloak.conf.template"
REGISTER = "/realms/mcp/clients-registrations/openid-connect"
ADDRESS = {
    "x-forwarded-for": "203.0.113.9",
    "x-forwarded-host": "evil.example",
    "x-forwarded-port": "1",
    "forwarded": "for=x",
}
pytestmark = pytest.mark.live


class Keycloak(http.server.BaseHTTPRequestHandler):
    """Stands for Keycloak: 201 to all, and which headers came."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(201)
        self.send_header("content-length", "0")
        for name in ("x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "forwarded"):
            self.send_header(f"seen-{name}", self.headers.get(name, "-"))
        self.end_headers()

    def do_GET(self) -> None:
        self.do_POST()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[httpx.Client]:
    program = shutil.which("nginx")
    if program is None:
        if os.environ.get("CI"):
            raise AssertionError("CI has nginx: see tests/system.sh")
        pytest.skip("nginx is missing: apt-get install nginx-light")
    behind = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Keycloak)
    port = free_port()
    text = TEMPLATE.read_text().replace("listen 8180", f"listen 127.0.0.1:{port}")
    text = text.replace("http://keycloak:8180", f"http://127.0.0.1:{behind.server_address[1]}")
    zone = "limit_conn_zone $binary_remote_addr zone=from_one_address:1m;"
    temporary = " ".join(
        f"{kind}_temp_path {tmp_path}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    whole = f"daemon off; pid {tmp_path}/pid; events {{}} http {{ access_log off; {temporary} {zone} {text} }}"
    (tmp_path / "nginx.conf").write_text(whole)
    running = subprocess.Popen([program, "-c", tmp_path / "nginx.conf", "-e", tmp_path / "error.log"])
    try:
        with served_in_a_thread(behind), httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            up(client, running)
            yield client
    finally:
        running.terminate()
        running.wait(30)


def up(client: httpx.Client, running: subprocess.Popen[bytes]) -> None:
    """Wait until it listens."""
    for _ in range(100):
        try:
            client.get("/")
        except httpx.ConnectError:
            try:
                running.wait(0.1)
            except subprocess.TimeoutExpired:
                continue
            break
        return
    raise AssertionError("nginx did not come up")


@pytest.mark.parametrize(
    "path",
    [
        REGISTER, "/realms/mcp//clients-registrations/openid-connect", "/realms/mcp/clients%2dregistrations/openid-connect",
        "/realms/mcp/x/../clients-registrations/openid-connect", "/realms;a=b/mcp/clients-registrations;c/openid-connect",
        "/realms/other/clients-registrations/openid-connect/",
    ],
)  # fmt: skip
def test_who_registers_too_often_is_told_to_wait(proxy: httpx.Client, path: str) -> None:
    statuses = [proxy.post(path, json={}).status_code for _ in range(40)]
    assert statuses[:21] == [201] * 21
    assert set(statuses[25:]) == {429}
    # logins, tokens and reading one's own registration are not counted
    for other in ("/realms/mcp/protocol/openid-connect/token", "/realms/clients-registrations/protocol/x"):
        assert proxy.post(other).status_code == 201
    assert proxy.get(REGISTER + "/1").status_code == 201


def test_the_other_ways_to_register_are_closed(proxy: httpx.Client) -> None:
    for provider in (
        "default",
        "install/x",
        "saml2-entity-descriptor",
        "openid-connect-x",
        "%64efault",
        "/default",
        "default;x",
    ):
        assert proxy.post(f"/realms/mcp/clients-registrations/{provider}", json={}).status_code == 404
    assert proxy.post(REGISTER + "/").status_code == 201


def test_what_a_client_says_of_its_address_is_not_passed_on(proxy: httpx.Client) -> None:
    seen = proxy.get("/realms/mcp", headers=ADDRESS).headers
    assert (seen["seen-x-forwarded-for"], seen["seen-forwarded"], seen["seen-x-forwarded-port"]) == (
        "127.0.0.1",
        "-",
        "-",
    )
    assert seen["seen-x-forwarded-host"].startswith("127.0.0.1:")
