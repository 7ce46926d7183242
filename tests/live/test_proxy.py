"""The proxy in front of the MCP server, as compose has it, on loopback: what passes, and where it sends who asks plainly."""

import http.server
import os
import socket
import ssl
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.kit.nginx import behind, proxying
from tests.kit.stack import free_port

CERTIFICATES = Path(__file__).parents[2] / "devstack" / "docker" / "certificates.py"
PUBLIC = "https://mcp.example.com"
pytestmark = pytest.mark.live


class Server(http.server.BaseHTTPRequestHandler):
    """Stands for the MCP server: 200 to all, and which path came."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "0")
        self.send_header("seen", self.path)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def certified(folder: Path) -> None:
    command = [sys.executable, str(CERTIFICATES), str(folder), "localhost"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    """Those for TLS and for plain HTTP."""
    folder = tmp_path_factory.mktemp("proxy")
    certified(folder)
    secure, plain = free_port(), free_port()
    client = httpx.Client(base_url=f"http://127.0.0.1:{plain}", trust_env=False)
    with behind(Server) as server, client:
        changes = {
            "${PUBLIC_URL}": PUBLIC,
            "/certificates/": f"{folder}/",
            "http://mcp:8000": server,
            "listen 8080": f"listen 127.0.0.1:{plain}",
            "listen 8443 ssl": f"listen 127.0.0.1:{secure} ssl",
            "http2 on;": "",
        }
        with proxying(folder, "mcp.conf.template", changes, client):
            yield secure, plain


def answered(port: int, path: str, host: str, context: ssl.SSLContext | None = None) -> str:
    """The head of the answer to a path as it is written: a client would tidy it."""
    connection = socket.create_connection(("127.0.0.1", port), 10)
    with context.wrap_socket(connection, server_hostname="localhost") if context else connection as sent:
        sent.sendall(f"GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n".encode())
        found = b""
        while b"\r\n\r\n" not in found and (more := sent.recv(65536)):
            found += more
    return found.decode()


@pytest.mark.parametrize(
    "path",
    [
        *("/metrics", "/metrics/", "//metrics", "/%6detrics", "/metrics%2f", "/metrics%2F%2f", "/./metrics/"),
        *("/mcp/../metrics/", "/metrics%252f", "/metrics?x", "/metrics//", "/metrics/x"),
    ],
)
def test_no_way_of_writing_it_leads_to_the_metrics(ports: tuple[int, int], path: str) -> None:
    context = ssl._create_unverified_context()
    assert answered(ports[0], path, "localhost", context).startswith("HTTP/1.1 404 ")
    assert "seen: /mcp" in answered(ports[0], "/mcp", "localhost", context)


@pytest.mark.parametrize("host", ["evil.example", "localhost", "evil.example:1", "mcp.example.com"])
def test_who_asks_plainly_is_sent_to_the_public_address_alone(ports: tuple[int, int], host: str) -> None:
    head = answered(ports[1], "/mcp?x=1", host)
    assert head.startswith("HTTP/1.1 308 ")
    assert f"Location: {PUBLIC}/mcp?x=1\r\n" in head
    assert "evil" not in head


def test_the_key_is_for_its_owner_alone(tmp_path: Path) -> None:
    former = os.umask(0)
    try:
        certified(tmp_path)
        key = tmp_path / "server.key"
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        key.chmod(0o644)  # as an earlier version left it, for certificates that are still good
        before = key.read_bytes()
        certified(tmp_path)
        assert (stat.S_IMODE(key.stat().st_mode), key.read_bytes()) == (0o600, before)
        key.chmod(0o644)
        (tmp_path / "server.pem").unlink()
        certified(tmp_path)
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        assert key.read_bytes() != before
    finally:
        os.umask(former)
