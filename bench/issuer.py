"""A small issuer on loopback: its metadata and its key set, for the target that discovers both."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from bench.tokens import KEY_ID, encoded

REALM: Final = "/realms/bench"


def issuer_url(port: int) -> str:
    """The issuer's identifier."""
    return f"http://127.0.0.1:{port}{REALM}"


@contextmanager
def issuing(port: int, key: RSAPublicKey) -> Iterator[None]:
    """Serve the issuer's documents from a thread of this process."""
    server = _Server(("127.0.0.1", port), documents(port, key))
    thread = threading.Thread(target=server.serve_forever, name="issuer", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def documents(port: int, key: RSAPublicKey) -> dict[str, bytes]:
    """What the issuer publishes, by path."""
    issuer = issuer_url(port)
    certs = f"{REALM}/protocol/openid-connect/certs"
    about = {
        "issuer": issuer,
        "jwks_uri": f"http://127.0.0.1:{port}{certs}",
        "authorization_endpoint": f"{issuer}/protocol/openid-connect/auth",
        "token_endpoint": f"{issuer}/protocol/openid-connect/token",
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "code_challenge_methods_supported": ["S256"],
    }
    metadata = json.dumps(about).encode()
    return {
        f"{REALM}/.well-known/openid-configuration": metadata,
        f"/.well-known/oauth-authorization-server{REALM}": metadata,
        certs: json.dumps({"keys": [_jwk(key)]}).encode(),
    }


def _jwk(key: RSAPublicKey) -> dict[str, Any]:
    numbers = key.public_numbers()
    modulus = numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8)
    exponent = numbers.e.to_bytes((numbers.e.bit_length() + 7) // 8)
    return {
        "kty": "RSA",
        "use": "sig",
        "alg": "RS256",
        "kid": KEY_ID,
        "n": encoded(modulus),
        "e": encoded(exponent),
    }


class _Server(ThreadingHTTPServer):
    def __init__(self, address: tuple[str, int], published: Mapping[str, bytes]) -> None:
        super().__init__(address, _Handler)
        self.published = published


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        """Answer with the document at this path, or 404."""
        found = self.server.published.get(self.path)
        self.send_response(404 if found is None else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(found or b"")))
        self.end_headers()
        self.wfile.write(found or b"")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
        """Say nothing: the table is the harness's output."""
