"""Faults of clients and clocks: slow readers and writers, a storm of reconnects, a clock that is set."""

import asyncio
import contextlib
import time
from pathlib import Path
from typing import Final

from tests.kit.stack import until
from tests.operate.client import LEGACY, listening, new_call, trace
from tests.operate.faults import hang_up
from tests.operate.section import Place

FAKETIME: Final = "/usr/lib/*/faketime/libfaketimeMT.so.1"
SLOW: Final = 60
"""Clients of each kind."""


def faketime() -> Path | None:
    """The library that lies about the clock, where Debian put it."""
    return next(iter(sorted(Path("/").glob(FAKETIME.lstrip("/")))), None)


async def clocks(place: Place) -> None:
    """One process begins with a clock that is set while it serves: 20 s on, then back, then 20 s behind."""
    library = faketime()
    if library is None:
        place.note("no libfaketime: the clock was left alone")
        return
    server, stamp = place.servers[2], place.folder / "clock"
    stamp.write_text("+0")
    lies = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(stamp),
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_CACHE_DURATION": "1",  # else each look at a clock reads the file
    }
    server.environment.update(lies)
    await place.restart(server, " under a clock that can be set")
    for step in ("+20", "+0", "-20", "+0"):
        stamp.write_text(step)
        place.note(f"the clock of server {server.number} is set to {step} s")
        await asyncio.sleep(5)
    for name in lies:
        del server.environment[name]
    await place.restart(server, " under the right clock")


async def clients(place: Place) -> None:
    """Clients that send half a head, half a body, or read nothing, then all listeners come back at once."""
    token = place.tokens[0]
    host = f"host: localhost:{place.port}\r\n"
    fields = "".join(f"{name}: {value}\r\n" for name, value in listening(token).items())
    head = f"POST /mcp HTTP/1.1\r\n{host}{fields}"
    halves = [f"POST /mcp HTTP/1.1\r\n{host}", f'{head}content-length: 9999\r\n\r\n{{"jsonrpc":']
    slow = [asyncio.create_task(_trickle(place, text)) for text in halves * SLOW]
    unread = [asyncio.create_task(_unread(place, token)) for _ in range(SLOW)]
    place.note(f"{len(slow)} clients send one byte a second, {len(unread)} read none of an answer of 1 MiB")
    await asyncio.sleep(12)
    for task in (*slow, *unread):
        task.cancel()
    await asyncio.wait([*slow, *unread])
    place.note("they are gone")
    await storm(place)
    await hang_up(place, place.servers[0])


async def storm(place: Place) -> None:
    """Every listener's connection is cut at once, and all come back."""
    before = len(place.listeners.open())
    began = time.monotonic()
    for one in place.listeners.all:
        one.cut()
    await asyncio.sleep(0.1)

    async def back() -> bool:
        return len(place.listeners.open()) >= before

    with contextlib.suppress(TimeoutError):
        await until(back, 15)
    now, took = len(place.listeners.open()), time.monotonic() - began
    place.note(f"{before} listeners cut at once; {now} are back after {took:.1f} s")


async def _trickle(place: Place, text: str) -> None:
    """Say this, then a byte a second, for ever."""
    with contextlib.suppress(OSError):
        _, writer = await asyncio.open_connection("127.0.0.1", place.port)
        try:
            writer.write(text.encode())
            while True:
                await asyncio.sleep(1)
                writer.write(b"x")
                await writer.drain()
        finally:
            writer.close()


async def _unread(place: Place, token: str) -> None:
    """Ask for much, and read nothing of it."""
    call = new_call()
    body = (
        '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"large",'
        f'"arguments":{{"call":"{call}","kib":1024}}}}}}'
    )
    head = (
        f"POST /mcp HTTP/1.1\r\nhost: localhost:{place.port}\r\nauthorization: Bearer {token}\r\n"
        "content-type: application/json\r\naccept: application/json, text/event-stream\r\n"
        f"mcp-protocol-version: {LEGACY}\r\ntraceparent: {trace(call)['traceparent']}\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    with contextlib.suppress(OSError):
        _, writer = await asyncio.open_connection("127.0.0.1", place.port, limit=1024)
        try:
            writer.write((head + body).encode())
            await asyncio.Event().wait()
        finally:
            writer.transport.abort()
