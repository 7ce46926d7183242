"""A tap on the wire: a relay that keeps what HTTP/1.1 messages pass between the products and a server.

It changes nothing, so Host, Origin and streams arrive as they were sent. The assertions of a run are about what it
kept: that is what the product did, whatever it says on its screen.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

import msgspec

from tests.kit.front import until_one_ends

MAX_HEAD = 256 * 1024
MAX_KEPT = 64 * 1024


class Exchange(msgspec.Struct, kw_only=True):
    """A request and the status of its answer; 0 until it comes."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    at: float
    """When it was asked, on the clock of `time.monotonic`."""
    status: int = 0
    answer: bytes = b""
    """The first bytes of it."""
    finished: bool = False

    @property
    def form(self) -> dict[str, str]:
        """The fields of a form body or of the query."""
        text = self.body.decode("latin-1") or urlsplit(self.path).query
        return {name: values[0] for name, values in parse_qs(text).items()}


class Tap:
    """What passed so far, in order of the requests."""

    def __init__(self) -> None:
        self.seen: list[Exchange] = []
        self._change = asyncio.Event()

    async def changed(self, within_s: float = 1.0) -> None:
        """Wait until an answer has passed, or for a while."""
        self._change.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._change.wait()

    async def relay(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, port: int) -> None:
        """One connection, and one of its own to `port`."""
        there, back = await asyncio.open_connection("127.0.0.1", port, limit=MAX_HEAD)
        waiting: asyncio.Queue[Exchange] = asyncio.Queue()
        await until_one_ends(
            self._requests(source, back, waiting),
            self._answers(there, target, waiting),
            writers=(target, back),
        )

    async def _requests(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, waiting: asyncio.Queue[Exchange]
    ) -> None:
        while head := await _head(source, target):
            method, path = head.split(b" ", 2)[:2]
            found = Exchange(
                method=method.decode(),
                path=path.decode("latin-1"),
                headers=_fields(head),
                body=b"",
                at=time.monotonic(),
            )
            self.seen.append(found)
            waiting.put_nowait(found)
            async for piece in _body(source, target, found.headers):
                found.body += piece

    async def _answers(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, waiting: asyncio.Queue[Exchange]
    ) -> None:
        while head := await _head(source, target):
            status = int(head.split(b" ", 2)[1])
            if status == 100:
                continue
            asked = await waiting.get()
            asked.status = status
            fields = _fields(head)
            if asked.method != "HEAD" and status not in {204, 304}:
                async for piece in _body(source, target, fields, until_closed="content-length" not in fields):
                    asked.answer = (asked.answer + piece)[:MAX_KEPT]
            asked.finished = True
            self._change.set()


async def _head(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> bytes:
    try:
        head = await source.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""
    target.write(head)
    await target.drain()
    return head


def _fields(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}


async def _body(
    source: asyncio.StreamReader, target: asyncio.StreamWriter, fields: dict[str, str], *, until_closed: bool = False
) -> AsyncIterator[bytes]:
    """The pieces of a message's body, each passed on before it is told."""
    if fields.get("transfer-encoding", "").lower() == "chunked":
        while True:
            line = await source.readline()
            piece = await source.readexactly(int(line, 16) + 2)
            target.write(line + piece)
            await target.drain()
            yield piece[:-2]
            if int(line, 16) == 0:
                return
    left = int(fields.get("content-length", "0"))
    while left or until_closed:
        piece = await source.read(65536 if until_closed else min(left, 65536))
        if not piece:
            return
        left -= len(piece) if not until_closed else 0
        target.write(piece)
        await target.drain()
        yield piece


@asynccontextmanager
async def tapped(port: int, target_port: int) -> AsyncIterator[Tap]:
    """Listen on `port` of loopback until the block ends."""
    tap = Tap()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await tap.relay(reader, writer, target_port)

    server = await asyncio.start_server(serve, "localhost", port, limit=MAX_HEAD)
    try:
        yield tap
    finally:
        server.close()
