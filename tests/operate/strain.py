"""Faults of clients and clocks: slow readers and writers, a storm of reconnects, a clock that is set."""

import asyncio
import contextlib
import math
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.kit.stack import until
from tests.operate.client import LEGACY, listening, new_call, trace
from tests.operate.faults import hang_up
from tests.operate.figures import Histogram
from tests.operate.section import Place
from tests.operate.verdicts import Judged

FAKETIME: Final = "/usr/lib/*/faketime/libfaketimeMT.so.1"
SLOW: Final = 60
"""Clients of each kind."""
KIB: Final = 8192
"""Of an answer that nobody reads: more than the kernel takes off the server's hands (tcp_wmem, 4 MiB)."""
HEAD_S: Final = 30.0
"""What docs/operate.md says of a connection that says half a head."""
BODY_S: Final = 5.0
SHORT: Final = {"MCP_BODY_TIMEOUT_S": str(BODY_S), "MCP_MAX_BODY_BYTES": str(KIB * 1024)}
LATER_S: Final = 5.0
UNREAD: Final = b'"an answer is not read"'
SLOWER_S: Final = 0.05
"""Below it nobody is held up, whatever it was before."""


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
    """Clients that send half a head, half a body, or read nothing, until the servers end them; then all listeners come
    back at once."""
    token = place.tokens[0]
    fields = "".join(f"{name}: {value}\r\n" for name, value in listening(token).items())
    head = f"POST /mcp HTTP/1.1\r\nhost: localhost\r\n{fields}"
    kinds = {
        "a head": ("POST /mcp HTTP/1.1\r\nhost: localhost\r\n", HEAD_S),
        "a body": (f'{head}content-length: 9999\r\n\r\n{{"jsonrpc":', BODY_S),
    }
    began = len(place.load.calls.all)
    quiet = _since(place, 0)
    ports = [server.port for server in place.servers]
    jobs = {
        f"sends {name}, a byte a second": ([_trickle(ports[one % len(ports)], text) for one in range(SLOW)], within)
        for name, (text, within) in kinds.items()
    }
    jobs["reads none of an answer of 8 MiB"] = (
        [_unread(ports[one % len(ports)], token) for one in range(SLOW)],
        BODY_S,
    )
    place.note(f"{SLOW} clients of each kind begin: {', '.join(jobs)}")
    running = {name: [asyncio.create_task(one) for one in slow] for name, (slow, _) in jobs.items()}
    await asyncio.wait([task for tasks in running.values() for task in tasks], timeout=HEAD_S + LATER_S)
    for name, tasks in running.items():
        within = jobs[name][1] + LATER_S
        place.more.append(ended(f"who {name} is sent away within {within:.0f} s", tasks, within))
        for task in tasks:
            task.cancel()
    await asyncio.wait([task for tasks in running.values() for task in tasks])
    busy = _since(place, began)
    before, beside = quiet.percentile(0.5), busy.percentile(0.5)
    figures = (
        f"p50 {before * 1e3:.0f} ms before, {beside * 1e3:.0f} ms beside them; p99 {quiet.percentile(0.99) * 1e3:.0f} "
    )
    figures += f"and {busy.percentile(0.99) * 1e3:.0f} ms"
    place.more.append(Judged("good calls are not held up", beside <= max(2 * before, SLOWER_S), figures))
    unread = sum(server.log.read_bytes().count(UNREAD) for server in place.servers)
    place.note(f"{unread} answers were given up, the others had been refused: too many bytes of one caller")
    await storm(place)
    await hang_up(place, place.servers[0])


def _since(place: Place, since: int) -> Histogram:
    """Of the good calls from then on."""
    found = Histogram()
    for one in place.load.calls.all[since:]:
        if one.verdict == "good":
            found.add(one.beyond)
    return found


def ended(promise: str, tasks: Sequence[asyncio.Task[float]], within: float) -> Judged:
    """Each task says after how long its server ended it."""
    took = [task.result() for task in tasks if task.done()]
    longest = max(took, default=0.0)
    figures = f"{len(took)} of {len(tasks)}, the last after {longest:.1f} s"
    return Judged(promise, len(took) == len(tasks) and longest <= within, figures)


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


async def _trickle(port: int, text: str) -> float:
    """Say this, then a byte a second, until the server ends it; how long that took."""
    began = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    ended = asyncio.create_task(_end_of(reader))
    try:
        writer.write(text.encode())
        while not (await asyncio.wait([ended], timeout=1))[0]:
            with contextlib.suppress(OSError):
                writer.write(b"x")
        return time.monotonic() - began
    finally:
        ended.cancel()
        writer.transport.abort()


async def _end_of(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(OSError):
        while await reader.read(4096):
            pass


async def _unread(port: int, token: str) -> float:
    """Ask for much, and read nothing of it; after how long the server had given up.

    Whoever reads then gets less than the answer, up to its end. How long that takes, a little at a time and beside all
    the others, is not the server's.
    """
    call, began = new_call(), time.monotonic()
    body = (
        '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"large",'
        f'"arguments":{{"call":"{call}","kib":{KIB}}}}}}}'
    )
    head = (
        f"POST /mcp HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n"
        "content-type: application/json\r\naccept: application/json, text/event-stream\r\n"
        f"mcp-protocol-version: {LEGACY}\r\ntraceparent: {trace(call)['traceparent']}\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    with socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(line, ("127.0.0.1", port))
        await loop.sock_sendall(line, (head + body).encode())
        await asyncio.sleep(BODY_S + LATER_S / 2)
        took, came = time.monotonic() - began, 0
        try:
            async with asyncio.timeout(HEAD_S - BODY_S):
                while data := await loop.sock_recv(line, 65536):
                    came += len(data)
        except ConnectionError:
            return took
        except TimeoutError:
            return math.inf
    return took if came < KIB * 1024 else math.inf
