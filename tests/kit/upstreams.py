"""An API on loopback that a test scripts byte by byte: what it does with each connection, and what it saw."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

from mcp_server.rest.model import WireRequest
from mcp_server.rest.wire.address import Base, base_of

OK: Final = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
Act = Callable[["Exchange"], Awaitable[None]]


class Exchange:
    """One request and the connection that it came on; `head` is its lines before the body."""

    def __init__(self, head: bytes, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.head, self.body, self.reader, self.writer = head, body, reader, writer

    async def say(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()

    async def gone(self) -> None:
        """Wait until the client closes the connection."""
        with suppress(ConnectionError):
            while await self.reader.read(65536):
                pass


class Api:
    """What it saw, and what it does with the next requests: the acts in turn, the last one for all that follow."""

    def __init__(self, *acts: Act) -> None:
        self.acts = list(acts)
        self.seen: list[Exchange] = []
        self.connections = 0
        self.port = 0
        self.scheme = "http"
        self.arrived = asyncio.Event()
        self.closed = asyncio.Event()
        """Set when a connection has ended."""

    def base(self, *, private: bool = True, host: str = "127.0.0.1") -> Base:
        return base_of(f"{self.scheme}://{host}:{self.port}", private=private)

    def request(self, path: str = "/x", method: str = "GET", body: bytes = b"", host: str = "127.0.0.1") -> WireRequest:
        return WireRequest(method=method, url=f"{self.scheme}://{host}:{self.port}{path}", body=body)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer what comes on one connection until it ends."""
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                exchange = Exchange(head, await _body(head, reader), reader, writer)
                self.seen.append(exchange)
                self.arrived.set()
                await (self.acts.pop(0) if len(self.acts) > 1 else self.acts[0])(exchange)
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass
        finally:
            writer.close()
            self.closed.set()


async def _body(head: bytes, reader: asyncio.StreamReader) -> bytes:
    lines = [line.partition(b":") for line in head.lower().split(b"\r\n")]
    length = next((int(value) for name, _, value in lines if name == b"content-length"), 0)
    return await reader.readexactly(length)


@asynccontextmanager
async def api(*acts: Act, tls: ssl.SSLContext | None = None) -> AsyncIterator[Api]:
    """One that listens until the block ends."""
    made = Api(*acts)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0, ssl=tls)
    made.port = server.sockets[0].getsockname()[1]
    made.scheme = "https" if tls else "http"
    try:
        yield made
    finally:
        server.close()


def answers(status: int = 200, body: bytes = b"{}", **headers: str) -> Act:
    """It answers so; an underscore in a header's name is a dash."""
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {status} X\r\n{lines}content-length: {len(body)}\r\n\r\n".encode()

    async def act(exchange: Exchange) -> None:
        await exchange.say(head + body)

    return act


def says(*pieces: bytes, then: str = "waits") -> Act:
    """It sends these bytes, and then waits for the client to go, or closes, or resets the connection."""

    async def act(exchange: Exchange) -> None:
        await exchange.say(*pieces)
        if then == "waits":
            await exchange.gone()
        elif then == "resets":
            exchange.writer.transport.abort()
        raise ConnectionResetError

    return act
