"""A server of the standard library's in a thread."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socketserver import TCPServer


@contextmanager
def served_in_a_thread(server: TCPServer, tls: tuple[Path, Path] | None = None) -> Iterator[None]:
    """Answers until the block ends; `tls` are a certificate and its key.

    How often it looks for the end is how long each end takes, half a second unsaid. Who connects and says nothing keeps
    a thread of its own with the handshake, and not the one that accepts.
    """
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
