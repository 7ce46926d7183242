"""An HTTPS server in threads of this process, for whatever client; what it answers is a manager's to say."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import parse_qsl, urlsplit

from tests.kit.background import served_in_a_thread
from tests.kit.certificates import self_signed

Fault = Literal["", "denied", "absent", "slow", "broken", "garbled", "expired"]
FAULTS: tuple[Fault, ...] = ("denied", "absent", "slow", "broken", "garbled", "expired")
HOST = "127.0.0.1"


class Asked:
    """A request."""

    def __init__(self, method: str, target: str, headers: dict[str, str], body: bytes) -> None:
        parts = urlsplit(target)
        self.method, self.path, self.headers, self.body = method, parts.path, headers, body
        self.query = dict(parse_qsl(parts.query))


M = TypeVar("M", bound="Manager")
Answer = tuple[int, dict[str, str], bytes]


class Manager:
    """What a stand-in holds, and what is wrong with it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.fault: Fault = ""
        self.secrets = {"MCP_CLIENT_SECRET": "s3cret-of-the-manager", "other": "nobody's"}
        self.asked: list[str] = []
        """Paths, in their order."""
        self.released = threading.Event()
        """Ends what a slow one waits for."""

    def environment(self, folder: Path) -> dict[str, str]:
        """What a process has whose client shall ask it; `folder` is for an identity."""
        raise NotImplementedError

    @property
    def host(self) -> str:
        """Where it listens."""
        return f"{HOST}:{self.port}"

    def is_login(self, asked: Asked) -> bool:
        """Whether it is asked for a token, which is another's to give."""
        return asked.path.endswith(("/login", "/token"))

    def answer(self, asked: Asked) -> Answer:
        """What it says."""
        raise NotImplementedError

    def serve(self, asked: Asked) -> Answer:
        """The same, with the faults that all have alike."""
        self.asked.append(asked.path)
        if self.fault == "slow":
            self.released.wait(30)
        if self.fault == "broken" and not self.is_login(asked):
            return as_json(500, {"errors": ["internal: s3cret-of-the-manager"]})
        return self.answer(asked)


def as_json(status: int, value: Any, **headers: str) -> Answer:
    """An answer in JSON."""
    return status, {"content-type": "application/json", **headers}, json.dumps(value).encode()


@contextlib.contextmanager
def running(folder: Path, make: Callable[[int], M]) -> Iterator[tuple[M, Path]]:
    """A manager that listens, and the file with its certificate."""
    files = self_signed(folder, HOST)
    with listening(make, files) as manager:
        yield manager, files[0]


@contextlib.contextmanager
def listening(make: Callable[[int], M], tls: tuple[Path, Path]) -> Iterator[M]:
    """One that listens by a certificate and key for `HOST`."""
    found: list[M] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, more, text = found[0].serve(Asked(self.command, self.path, headers, body))
            with contextlib.suppress(OSError):  # a client that has waited for long enough is gone
                self.send_response(status)
                for name, value in {**more, "content-length": str(len(text))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text)

        do_GET = do_POST = _any  # noqa: N815 - names that the base class looks for

        def log_message(self, *_: Any) -> None:
            return

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            return

    server = Quiet((HOST, 0), Handler)
    found.append(make(server.server_address[1]))
    with served_in_a_thread(server, tls):
        try:
            yield found[0]
        finally:
            found[0].released.set()
