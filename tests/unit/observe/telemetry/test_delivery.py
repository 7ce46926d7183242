"""Answers of a collector, over real sockets: none takes a worker's memory or thread, and its connection is kept."""

import os
import select
import signal
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
import requests

from mcp_server.observe.telemetry import delivery
from mcp_server.observe.telemetry.environment import Target
from tests.kit.background import served_in_a_thread

PIECE = b"x" * 65536
ENDLESS = 1024
"""Pieces, 64 MB together: what is read by who reads all."""


class Answering(socketserver.ThreadingTCPServer):
    """A collector that answers each request by `act`."""

    daemon_threads = True

    def __init__(self, act: Callable[["Connection"], None]) -> None:
        self.act, self.connections = act, 0
        super().__init__(("127.0.0.1", 0), Connection)


class Connection(socketserver.StreamRequestHandler):
    """One connection, until it ends."""

    server: Answering

    def handle(self) -> None:
        self.server.connections += 1
        while b"content-length" in (head := b"".join(iter(self.rfile.readline, b"\r\n"))).lower():
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
            self.rfile.read(int(length.partition(b":")[2]))
            self.server.act(self)

    def say(self, data: bytes) -> None:
        self.wfile.write(data)


@contextmanager
def answering(act: Callable[[Connection], None]) -> Iterator[tuple[Answering, delivery.OtlpSession, str]]:
    server = Answering(act)
    with served_in_a_thread(server):
        url = f"http://127.0.0.1:{server.server_address[1]}/v1/traces"
        with delivery.OtlpSession(Target(url=url), "", "") as way:
            yield server, way, url


def posted(way: delivery.OtlpSession, url: str) -> requests.Response:
    return way.request("POST", url, data=b"spans", timeout=10, allow_redirects=False)


def test_an_answer_that_does_not_end_is_not_read_to_its_end() -> None:
    gone = threading.Event()

    def act(connection: Connection) -> None:
        connection.say(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            for _ in range(ENDLESS):
                connection.say(PIECE)
        except ConnectionError:
            gone.set()

    with answering(act) as (_, way, url):
        assert posted(way, url).status_code == 200
        assert gone.wait(20)


def test_an_answer_that_drips_keeps_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "ANSWER_S", 0.0)
    gone = threading.Event()

    def act(connection: Connection) -> None:
        connection.say(b"HTTP/1.1 429 Slow\r\ncontent-length: 100\r\n\r\nx")
        with suppress(ConnectionError):
            connection.rfile.read(1)
        gone.set()

    with answering(act) as (_, way, url):
        assert posted(way, url).status_code == 429
        assert gone.wait(20)


def test_a_connection_is_kept() -> None:
    with answering(lambda one: one.say(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")) as (server, way, url):
        assert [posted(way, url).status_code for _ in range(3)] == [200] * 3
        assert server.connections == 1


def test_a_forked_child_has_connections_of_its_own() -> None:
    """Two processes that write into one at once are both misunderstood."""
    with answering(lambda one: one.say(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")) as (server, way, url):
        posted(way, url)
        child = os.fork()
        if not child:
            try:
                posted(way, url)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        posted(way, url)
        assert server.connections == 2


def test_a_child_of_a_forked_child_does_not_wait_for_a_thread_of_the_first_process() -> None:
    """It let go of connections that its parent had kept, and so waited for their lock: a daemon is forked twice."""
    held, go = threading.Event(), threading.Event()
    with delivery.OtlpSession(Target(url="http://127.0.0.1:9"), "", "") as way:
        adapter = way.get_adapter("http://127.0.0.1:9")
        assert isinstance(adapter, requests.adapters.HTTPAdapter)
        queue = adapter.poolmanager.connection_from_url("http://127.0.0.1:9").pool
        del adapter
        assert queue is not None

        def hold() -> None:
            with queue.mutex:
                held.set()
                go.wait(60)

        (other := threading.Thread(target=hold, daemon=True)).start()
        held.wait(60)
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            if not (grandchild := os.fork()):
                os.write(writing, b"forked")
                os._exit(0)
            said, _, _ = select.select([reading], [], [], 30)
            os.kill(grandchild, signal.SIGKILL)
            os._exit(0 if said else 1)
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        go.set()
        other.join(60)
        os.close(reading)
        os.close(writing)
        assert ended == 0
