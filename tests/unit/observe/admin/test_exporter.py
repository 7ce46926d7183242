"""The exporter needs no token, so nobody may hold it up; and what it renders holds up nobody either."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from mcp_server.observe import metrics
from mcp_server.observe.admin.exporter import MAX_CONNECTIONS, MAX_HEAD, MAX_SCRAPES, Exporter

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def exporting(
    render: Callable[[], bytes] = lambda: b"up 1\n",
    *,
    exchange_s: float = 30,
    head_s: float = 30,
    connections: int = MAX_CONNECTIONS,
) -> AsyncIterator[int]:
    exporter = Exporter(render, exchange_s=exchange_s, head_s=head_s, connections=connections)
    async with await exporter.start("127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def connected(port: int, said: bytes = b"") -> Streams:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(said)
    return reader, writer


async def rest(streams: Streams) -> bytes:
    """All that still comes, until the other end closes."""
    reader, writer = streams
    found = b""
    try:
        async with asyncio.timeout(60):
            with contextlib.suppress(ConnectionError):
                found = await reader.read()
    finally:
        writer.transport.abort()
    return found


async def asked(port: int, line: str) -> tuple[int, bytes]:
    head, _, body = (await rest(await connected(port, f"{line} HTTP/1.1\r\nhost: x\r\n\r\n".encode()))).partition(
        b"\r\n\r\n"
    )
    assert b"connection: close" in head
    return int(head.split()[1]), body


@pytest.mark.parametrize(
    ("line", "status", "body"),
    [
        ("GET /metrics", 200, b"up 1\n"),
        ("GET /metrics?name[]=up", 200, b"up 1\n"),
        ("HEAD /metrics", 200, b""),
        ("GET /", 404, b""),
        ("GET /metrics/", 404, b""),
        ("POST /metrics", 405, b""),
        ("nonsense", 405, b""),
    ],
)
async def test_it_answers_one_question(line: str, status: int, body: bytes) -> None:
    async with exporting() as port:
        assert await asked(port, line) == (status, body)


@pytest.mark.parametrize(
    "said", [b"", b"GET /metrics HTTP/1.1\r\nx: ", b"GET /metrics HTTP/1.1\r\nx: " + b"x" * 2 * MAX_HEAD]
)
async def test_who_sends_no_whole_head_is_closed(said: bytes) -> None:
    async with exporting(head_s=0.5) as port:  # in which the next one says its own, on a busy machine, too
        assert await rest(await connected(port, said)) == b""
        assert await asked(port, "GET /") == (404, b"")


async def test_who_does_not_read_the_answer_gives_its_place_back() -> None:
    async with exporting(lambda: bytes(64 * 1024 * 1024), exchange_s=0.05) as port, AsyncExitStack() as held:
        for _ in range(MAX_SCRAPES):
            unread = held.enter_context(socket.create_connection(("127.0.0.1", port)))
            unread.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        async with asyncio.timeout(60):
            while not (await rest(await connected(port, b"HEAD /metrics HTTP/1.1\r\n\r\n"))).startswith(
                b"HTTP/1.1 200"
            ):
                pass


async def test_scrapes_that_wait_keep_no_probe_out() -> None:
    gate = threading.Event()

    def render() -> bytes:
        gate.wait(10)
        return b"rendered"

    async with exporting(render) as port:
        waiting = [asyncio.create_task(asked(port, "GET /metrics")) for _ in range(MAX_SCRAPES + 1)]
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        assert [await one for one in done] == [(503, b"")]
        assert await asked(port, "GET /") == (404, b"")
        gate.set()
        assert sorted(await asyncio.gather(*waiting)) == [(200, b"rendered")] * MAX_SCRAPES + [(503, b"")]


@pytest.mark.parametrize("said", [b"", b"GET /met", b"GET / HTTP/1.1\r\n\r\n"])
async def test_of_too_many_connections_the_oldest_that_is_idle_is_closed(said: bytes) -> None:
    async with exporting(connections=3) as port:
        idle = [await connected(port, said) for _ in range(3)]
        if said.endswith(b"\r\n\r\n"):
            for reader, _ in idle:
                assert await reader.readuntil(b"\r\n\r\n")  # answered, and not closed
        assert await asked(port, "GET /metrics") == (200, b"up 1\n")
        assert await rest(idle[0]) == b""
        for _, writer in idle[1:]:
            writer.transport.abort()


async def test_one_rendering_at_a_time_and_the_loop_goes_on() -> None:
    running, most, gate = 0, 0, threading.Event()

    def render() -> bytes:
        nonlocal running, most
        running += 1
        most = max(most, running)
        gate.wait(10)
        running -= 1
        return b"rendered"

    async with exporting(render) as port:
        waiting = [asyncio.create_task(asked(port, "GET /metrics")) for _ in range(3)]
        assert await asked(port, "GET /") == (404, b"")
        gate.set()
        assert await asyncio.gather(*waiting) == [(200, b"rendered")] * 3
    assert most == 1


async def test_counters_are_read_in_a_thread_that_is_not_the_loops() -> None:
    seen: list[int] = []

    class Watching(Collector):
        def collect(self) -> list[Metric]:
            seen.append(threading.get_ident())
            return []

    watching = Watching()
    REGISTRY.register(watching)
    seen.clear()  # `register` looks at what it has
    try:
        assert b"mcp_calls" in await metrics.exposed()
    finally:
        REGISTRY.unregister(watching)
    assert seen
    assert threading.get_ident() not in seen


async def test_probes_of_all_workers_are_answered_where_their_folder_is_known(tmp_path: Path) -> None:
    (tmp_path / "7").write_text("ok")
    async with exporting() as port:
        assert (await asked(port, "GET /readyz"))[0] == 404
    exporter = Exporter(lambda: b"", folder=tmp_path)
    async with await exporter.start("127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        for path in ("/readyz", "/healthz"):
            status, body = await asked(port, f"GET {path}")
            assert (status, body) == (200, b'{"status":"ok","workers":[{"pid":7,"status":"ok"}]}')
        (tmp_path / "7").write_text("draining")
        assert (await asked(port, "GET /readyz"))[0] == 503
        assert await asked(port, "HEAD /readyz") == (503, b"")
