"""A relay that adds a bearer token to requests which have none: the official suite can send none.

It works on the bytes of HTTP/1.1 and changes nothing else, so Host, Origin and streams arrive as they were sent.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

MAX_HEAD = 64 * 1024
Token = Callable[[], Awaitable[str]]


async def _requests(source: asyncio.StreamReader, target: asyncio.StreamWriter, token: Token) -> None:
    while True:
        try:
            head = await source.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return
        lines = head.split(b"\r\n")
        names = {line.partition(b":")[0].strip().lower(): line.partition(b":")[2].strip() for line in lines[1:]}
        if b"authorization" not in names:
            lines.insert(1, b"Authorization: Bearer " + (await token()).encode())
        target.write(b"\r\n".join(lines))
        if b"content-length" in names:
            target.write(await source.readexactly(int(names[b"content-length"])))
        elif names.get(b"transfer-encoding", b"").lower() == b"chunked":
            await _chunks(source, target)
        await target.drain()


async def _chunks(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while True:
        size = await source.readline()
        target.write(size + await source.readexactly(int(size, 16) + 2))
        if int(size, 16) == 0:
            return


async def _answers(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while data := await source.read(65536):
        target.write(data)
        await target.drain()


async def until_one_ends(*directions: Coroutine[Any, Any, None], writers: tuple[asyncio.StreamWriter, ...]) -> None:
    """Run the directions of a relayed connection; the end of one is the end of all, and closes the `writers`."""
    jobs = [asyncio.ensure_future(one) for one in directions]
    try:
        await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
        for writer in writers:
            writer.close()


@asynccontextmanager
async def token_front(port: int, target_port: int, token: Token) -> AsyncIterator[None]:
    """Listen on `port` until the block ends; each connection has one of its own to `target_port`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", target_port, limit=MAX_HEAD)
        try:
            await until_one_ends(_requests(reader, back, token), _answers(there, writer), writers=(writer, back))
        finally:
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", port, limit=MAX_HEAD)
    try:
        yield
    finally:
        server.close()
