"""A server of the standard library's in a thread."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import BaseServer


@contextmanager
def served_in_a_thread(server: BaseServer) -> Iterator[None]:
    """Answers until the block ends; how often it looks for the end is how long each end takes, half a second unsaid."""
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
