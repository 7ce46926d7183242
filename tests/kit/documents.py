"""A client's metadata document on loopback, for an authorization server to fetch."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import urlsplit

from tests.kit.background import served_in_a_thread


@contextmanager
def published(
    body: Callable[[str], bytes],
    status: int = 200,
    coding: str | None = None,
    heard: Callable[[Message], None] = lambda _: None,
) -> Iterator[str]:
    """The document's address, while it can be fetched; `body` makes the bytes from it, `heard` is told the headers."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard(self.headers)
            sent = body(address)
            self.send_response(status)
            self.send_header("content-type", "application/json")
            if coding is not None:
                self.send_header("content-encoding", coding)
            self.send_header("content-length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, *_: object) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    address = f"http://127.0.0.1:{server.server_port}/{secrets.token_hex(4)}.json"
    with served_in_a_thread(server):
        yield address


def origin(address: str) -> str:
    """Scheme, host and port."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}"
