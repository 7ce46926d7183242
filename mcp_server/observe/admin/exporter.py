"""Admin port: a process that answers GET /metrics, /healthz and /readyz for all workers, to whoever reaches it.

`serve` starts it before there are workers and ends it after them. It is no thread of the process that forks workers: a
lock that such a thread holds at that moment is held for ever in the child.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from mcp_server.observe import metrics
from mcp_server.observe.admin import probes

MAX_HEAD: Final = 8 * 1024
MAX_CONNECTIONS: Final = 16
EXCHANGE_S: Final = 5.0
"""From the first byte to the last: whoever reaches the port needs no token, so nobody may hold a place longer."""
WATCH_S: Final = 1.0
END_S: Final = 5.0
_PROBES: Final = {b"/healthz": probes.live, b"/readyz": probes.ready}


class Exporter:
    """The HTTP server: one request a connection, so many `connections` at once, one rendering at a time."""

    def __init__(
        self,
        render: Callable[[], bytes] = metrics.exposition,
        *,
        folder: Path | None = None,
        exchange_s: float = EXCHANGE_S,
        connections: int = MAX_CONNECTIONS,
    ) -> None:
        """In the folder the workers beat."""
        self._folder = folder
        self._render, self._exchange_s, self._connections = render, exchange_s, connections
        self._rendering = asyncio.Lock()
        self._open = 0

    async def start(self, host: str, port: int) -> asyncio.Server:
        """Listen there."""
        return await asyncio.start_server(self._connected, host, port, limit=MAX_HEAD)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._open >= self._connections:
            writer.transport.abort()
            return
        self._open += 1
        try:
            async with asyncio.timeout(self._exchange_s):
                await self._answer(reader, writer)
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # nobody is owed an answer who does not ask, or does not read
        finally:
            self._open -= 1
            writer.transport.abort()  # `close` would wait for a reader that does not read

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method, _, rest = (await reader.readuntil(b"\r\n\r\n")).partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        status, body, kind = "404 Not Found", b"", metrics.EXPOSITION
        if method not in (b"GET", b"HEAD"):
            status = "405 Method Not Allowed"
        elif path == b"/metrics":
            status = "200 OK"
            async with self._rendering:
                body = await asyncio.to_thread(self._render)
        elif path in _PROBES and self._folder is not None:
            code, body = _PROBES[path](probes.states(self._folder))
            status, kind = ("200 OK" if code == 200 else "503 Service Unavailable"), "application/json"
        head = (
            f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n"
            f"allow: GET, HEAD\r\nconnection: close\r\n\r\n"
        )
        writer.write(head.encode() + (body if method != b"HEAD" else b""))
        await writer.drain()
        writer.write_eof()
        await reader.read(1)  # until it has read: a close with something unread would take the answer back


@contextlib.contextmanager
def running(host: str, port: int, folder: Path | None = None) -> Iterator[None]:
    """An exporter beside this process for as long as the context lasts; in the folder workers beat."""
    command = [sys.executable, "-m", "mcp_server.observe.admin.exporter", host, str(port), str(os.getpid())]
    command += [] if folder is None else [str(folder)]
    # A session of its own: Ctrl-C is for the server, whose last calls are still counted.
    child = subprocess.Popen(command, start_new_session=True)  # noqa: S603 - ourselves
    try:
        yield
    finally:
        child.terminate()
        try:
            child.wait(END_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


async def _until_ended(host: str, port: int, parent: int, folder: Path | None) -> None:
    """Serve until a signal, or until the parent is gone: killed, it could not end its child."""
    ended = asyncio.Event()
    with contextlib.suppress(NotImplementedError):  # Windows has no signal handlers of loops; it is terminated there
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    try:
        server = await Exporter(folder=folder).start(host, port)
    except OSError as error:
        sys.exit(f"admin port: cannot listen on {host}, port {port}: {error.strerror}")
    async with server:
        while os.getppid() == parent and not ended.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), WATCH_S)


if __name__ == "__main__":
    asyncio.run(
        _until_ended(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]) if sys.argv[4:] else None)
    )
