"""A small issuer on loopback: metadata, key set and token endpoint, for the targets of ours that ask it."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from bench.tokens import KEY_ID, encoded, exchanged

REALM: Final = "/realms/bench"


def issuer_url(port: int) -> str:
    """The issuer's identifier."""
    return f"http://127.0.0.1:{port}{REALM}"


@contextmanager
def issuing(port: int, key: RSAPrivateKey) -> Iterator[None]:
    """Serve the issuer's documents, and one token for whatever is exchanged, from a thread of this process."""
    server = _Server(("127.0.0.1", port), documents(port, key.public_key()), _issued(exchanged(key, issuer_url(port))))
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


def _issued(token: str) -> bytes:
    """The answer of the token endpoint (RFC 8693 §2.2.1)."""
    kind = "urn:ietf:params:oauth:token-type:access_token"
    said = {"access_token": token, "issued_token_type": kind, "token_type": "Bearer", "expires_in": 3600}
    return json.dumps(said).encode()


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
    def __init__(self, address: tuple[str, int], published: Mapping[str, bytes], issued: bytes) -> None:
        super().__init__(address, _Handler)
        self.published, self.issued = published, issued


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        """Answer with the document at this path, or 404."""
        self._answer(self.server.published.get(self.path))

    def do_POST(self) -> None:
        """Exchange a token: whose it is, the benchmark does not ask."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer(self.server.issued if self.path == f"{REALM}/protocol/openid-connect/token" else None)

    def _answer(self, found: bytes | None) -> None:
        self.send_response(404 if found is None else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(found or b"")))
        self.end_headers()
        self.wfile.write(found or b"")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
        """Say nothing: the table is the harness's output."""
