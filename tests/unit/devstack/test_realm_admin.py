"""How `devstack realm` reaches a Keycloak behind a certificate of a company's own."""

import http.server
from collections.abc import Iterator
from pathlib import Path

import pytest

from devstack.realm.apply.admin import Admin, AdminError, Credentials
from tests.kit.background import served_in_a_thread
from tests.kit.certificates import self_signed


class Answer(http.server.BaseHTTPRequestHandler):
    """Says 401 to whatever is posted."""

    def do_POST(self) -> None:
        self.send_response(401)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def keycloak(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    files = self_signed(tmp_path)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    with served_in_a_thread(server, files):
        yield f"https://localhost:{server.server_address[1]}", files[0]


def test_a_certificate_of_nobodys_is_told_from_nobody_and_ca_file_mends_it(
    keycloak: tuple[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    origin, certificate = keycloak
    monkeypatch.delenv("MCP_CA_FILE", raising=False)
    with Admin(origin, "mcp", Credentials("admin", "x")) as admin:
        with pytest.raises(AdminError, match="is not trusted: name its authority's PEM file in MCP_CA_FILE"):
            admin.exists()
    monkeypatch.setenv("MCP_CA_FILE", str(certificate))
    with Admin(origin, "mcp", Credentials("admin", "x")) as admin:
        with pytest.raises(AdminError, match="no token for admin: 401"):
            admin.exists()
    monkeypatch.setenv("MCP_CA_FILE", str(tmp_path / "none.pem"))
    with pytest.raises(AdminError, match="MCP_CA_FILE: no PEM certificates"):
        Admin(origin, "mcp", Credentials("admin", "x"))
