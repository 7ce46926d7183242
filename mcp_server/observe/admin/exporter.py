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

from mcp_server.observe import log, metrics
from mcp_server.observe.admin import probes
from mcp_server.observe.log import LogFormat

MAX_HEAD: Final = 8 * 1024
MAX_CONNECTIONS: Final = 64
"""Without a head yet, or answered and not closed: when they are more, the oldest is thrown out."""
MAX_SCRAPES: Final = 8
"""Apart from the others, so that scrapes that wait or are not read keep no probe out."""
HEAD_S: Final = 1.0
EXCHANGE_S: Final = 5.0
"""From the first byte to the last: whoever reaches the port needs no token, so nobody may hold a place longer."""
WATCH_S: Final = 1.0
END_S: Final = 5.0
_PROBES: Final = {b"/healthz": probes.live, b"/readyz": probes.ready}


class Exporter:
    """The HTTP server: one request a connection, so many `connections` at once, one rendering at a time.

    Who asks at once is answered, whoever else keeps connections open: a newcomer is never refused for them.
    """

    def __init__(
        self,
        render: Callable[[], bytes] = metrics.exposition,
        *,
        folder: Path | None = None,
        exchange_s: float = EXCHANGE_S,
        head_s: float = HEAD_S,
        connections: int = MAX_CONNECTIONS,
    ) -> None:
        """In the folder the workers beat."""
        self._folder = folder
        self._render, self._exchange_s, self._head_s, self._connections = render, exchange_s, head_s, connections
        self._rendering, self._scrapes = asyncio.Lock(), asyncio.Semaphore(MAX_SCRAPES)
        self._idle: dict[asyncio.StreamWriter, None] = {}
        """The oldest first."""

    async def start(self, host: str, port: int) -> asyncio.Server:
        """Listen there."""
        return await asyncio.start_server(self._connected, host, port, limit=MAX_HEAD)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(self._exchange_s):
                self._be_idle(writer)
                async with asyncio.timeout(self._head_s):
                    head = await reader.readuntil(b"\r\n\r\n")
                self._idle.pop(writer, None)  # thrown out in this moment, it hears nothing
                await self._answer(head, writer)
                self._be_idle(writer)
                await reader.read(1)  # until it has read: a close with something unread would take the answer back
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # nobody is owed an answer who does not ask, or does not read
        except asyncio.CancelledError:
            pass  # the port ends: let through, it is a traceback of asyncio's on standard error (Python 3.11)
        finally:
            self._idle.pop(writer, None)
            writer.transport.abort()  # `close` would wait for a reader that does not read

    def _be_idle(self, writer: asyncio.StreamWriter) -> None:
        self._idle[writer] = None
        if len(self._idle) > self._connections:
            oldest = next(iter(self._idle))
            del self._idle[oldest]
            oldest.transport.abort()

    async def _answer(self, asked: bytes, writer: asyncio.StreamWriter) -> None:
        method, _, rest = asked.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if method in (b"GET", b"HEAD") and path == b"/metrics":
            await self._scrape(method, writer)
            return
        status, body, kind = "404 Not Found", b"", metrics.EXPOSITION
        if method not in (b"GET", b"HEAD"):
            status = "405 Method Not Allowed"
        elif path in _PROBES and self._folder is not None:
            code, body = _PROBES[path](probes.states(self._folder))
            status, kind = ("200 OK" if code == 200 else "503 Service Unavailable"), "application/json"
        await _write(writer, method, status, body, kind)

    async def _scrape(self, method: bytes, writer: asyncio.StreamWriter) -> None:
        if self._scrapes.locked():
            await _write(writer, method, "503 Service Unavailable")
            return
        async with self._scrapes:
            try:
                async with self._rendering:
                    body = await asyncio.to_thread(self._render)
            except Exception as error:  # noqa: BLE001 - what a damaged file raises, in the library that reads it
                log.logger.opt(exception=error).error("a scrape has failed: the counters cannot be read")
                await _write(writer, method, "500 Internal Server Error")
                return
            await _write(writer, method, "200 OK", body)


async def _write(
    writer: asyncio.StreamWriter, method: bytes, status: str, body: bytes = b"", kind: str = metrics.EXPOSITION
) -> None:
    head = (
        f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n"
        f"allow: GET, HEAD\r\nconnection: close\r\n\r\n"
    )
    writer.write(head.encode() + (body if method != b"HEAD" else b""))
    await writer.drain()
    writer.write_eof()


@contextlib.contextmanager
def running(host: str, port: int, folder: Path | None = None, log_format: LogFormat = "json") -> Iterator[None]:
    """An exporter beside this process for as long as the context lasts; in the folder workers beat."""
    command = [sys.executable, "-m", "mcp_server.observe.admin.exporter", host, str(port), str(os.getpid())]
    command += ["" if folder is None else str(folder), log_format]
    # A session of its own: Ctrl-C is for the server, whose last calls are still counted.
    child = subprocess.Popen(command, start_new_session=True)  # nosec B603 # noqa: S603 - ourselves
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


def _main(host: str, port: str, parent: str, folder: str = "", log_format: str = "json") -> None:
    log.set_up("pretty" if log_format == "pretty" else "json")
    asyncio.run(_until_ended(host, int(port), int(parent), Path(folder) if folder else None))


if __name__ == "__main__":
    from mcp_server.observe.admin import exporter  # noqa: PLW0406 - as the module that it is: of `__main__` no line is sampled

    exporter._main(*sys.argv[1:])  # noqa: SLF001 - its own
