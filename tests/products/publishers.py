"""The publishers' sites, stood in for: what they serve as their products' client ID metadata documents.

No run reaches the internet. A hosts file that Keycloak's JVM alone reads points their names here, and an authority that
this JVM alone trusts signs the certificate. The contents are those that the publishers document.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from tests.kit.background import served_in_a_thread

ROOT = Path(__file__).parents[2]
PORT: Final = 443


def _document(name: str, page: str, *redirects: str) -> dict[str, Any]:
    return {
        "client_name": name,
        "client_uri": page,
        "redirect_uris": list(redirects),
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
    }


DOCUMENTS: Final = {
    "https://claude.ai/oauth/claude-code-client-metadata": _document(
        "Claude Code", "https://claude.ai", "http://localhost/callback", "http://127.0.0.1/callback"
    ),
    "https://chatgpt.com/oauth/codex/client.json": _document(
        "Codex", "https://chatgpt.com", "http://localhost/callback", "http://127.0.0.1/callback"
    ),
    "https://github.com/copilot/cli/client-metadata.json": _document(
        *("GitHub Copilot CLI", "https://github.com", "http://127.0.0.1/", "http://127.0.0.1/callback"),
        *("http://localhost/", "http://localhost/callback"),
    ),
}


@contextmanager
def publishing(folder: Path) -> Iterator[tuple[Path, Path]]:
    """The hosts file and the authority's certificate, while the sites answer."""
    names = sorted({address.split("/")[2] for address in DOCUMENTS})
    hosts = folder / "hosts"
    hosts.write_text("127.0.0.1 localhost\n" + "".join(f"127.0.0.1 {name}\n" for name in names))
    script = ROOT / "devstack" / "docker" / "certificates.py"
    subprocess.run([sys.executable, str(script), str(folder), *names], check=True, capture_output=True)
    server = ThreadingHTTPServer(("127.0.0.1", PORT), _Site)
    with served_in_a_thread(server, (folder / "server.pem", folder / "server.key")):
        yield hosts, folder / "ca.pem"


class _Site(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        address = f"https://{self.headers['host']}{self.path}"
        found = DOCUMENTS.get(address)
        sent = json.dumps({"client_id": address, **found} if found else {}).encode()
        self.send_response(200 if found else 404)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    def log_message(self, *_: object) -> None:
        return
