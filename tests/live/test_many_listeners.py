"""A thousand open streams on one worker: what each costs, how fast each hears, what is left when they are gone."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import msgspec
import pytest

from tests.kit import wire
from tests.kit.served import Served, running_server

MANY = 1_000
FORGOTTEN = 50
"""Of eight thousand streams, what would be seen if they stayed; noise is below."""
URI = "test://watched-resource"
pytestmark = [pytest.mark.live, pytest.mark.alone]


class Line(msgspec.Struct):
    """One open stream."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def next(self) -> dict[str, object]:
        """The next message; keep-alives are passed over."""
        while not (line := await self.reader.readline()).startswith(b"data: "):
            assert line, "the server has closed the stream"
        said: dict[str, object] = json.loads(line[6:])
        return said


async def open_one(served: Served, token: str, number: int) -> Line:
    message = wire.modern("subscriptions/listen", {"notifications": {"resourceSubscriptions": [URI]}}, number)
    body = json.dumps(message).encode()
    fields = {
        "host": f"localhost:{served.port}",
        "content-type": "application/json",
        "content-length": str(len(body)),
        "authorization": f"Bearer {token}",
        **{name.replace("_", "-"): value for name, value in wire.headers("subscriptions/listen").items()},
    }
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    writer.write(f"POST /mcp HTTP/1.1\r\n{head}\r\n".encode() + body)
    line = Line(reader, writer)
    assert (await line.next())["method"] == "notifications/subscriptions/acknowledged"
    return line


async def touch(served: Served, token: str) -> None:
    message = wire.modern("tools/call", {"name": "touch_watched", "arguments": {}})
    headers = {name.replace("_", "-"): value for name, value in wire.headers("tools/call", "touch_watched").items()}
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.post(served.resource, json=message, headers=headers | {"authorization": f"Bearer {token}"})
        assert answer.status_code == 200


async def one_round(served: Served, token: str) -> tuple[int, float]:
    """Open all, tell all, close all: memory while open in KiB, seconds until the last one heard."""
    lines: list[Line] = []
    for start in range(0, MANY, 100):
        lines += await asyncio.gather(*(open_one(served, token, number) for number in range(start, start + 100)))
    held = served.resident_kib()
    started = time.perf_counter()
    heard = asyncio.gather(*(line.next() for line in lines))
    await touch(served, token)
    said = await heard
    took = time.perf_counter() - started
    assert all(one["method"] == "notifications/resources/updated" for one in said)
    for line in lines:
        line.writer.close()
    await asyncio.gather(*(line.writer.wait_closed() for line in lines))
    return held, took


async def work(served: Served, token: str, done: Callable[[], bool]) -> None:
    """Calls, one after the other, until something is so: allocators give back what they keep as they are used."""
    message = wire.modern("tools/call", {"name": "test_simple_text"})
    headers = {name.replace("_", "-"): value for name, value in wire.headers("tools/call", "test_simple_text").items()}
    headers |= {"authorization": f"Bearer {token}"}
    async with asyncio.timeout(60), httpx.AsyncClient(trust_env=False) as http:
        while not done():
            answers = [await http.post(served.resource, json=message, headers=headers) for _ in range(100)]
            assert {answer.status_code for answer in answers} == {200}


async def test_a_thousand_streams_are_cheap_quick_and_leave_nothing(tmp_path: Path) -> None:
    fixture = "tests.kit.servers.conformance:server"
    many = str(MANY)
    async with running_server(
        tmp_path,
        fixture,
        max_streams_per_principal=many,
        max_streams=many,
        max_calls_per_second_per_principal="10000",
        allocator="dirty_decay_ms:1000,muzzy_decay_ms:1000",
    ) as served:
        token = await served.token("alice", "mcp:read")
        await touch(served, token)
        cold = served.resident_kib()
        held, first = await one_round(served, token)
        each = (held - cold) / MANY
        assert each < 100
        took = [first]
        # The first thousand bring the interpreter's arenas and the web server's buffers to their size; what is kept
        # beyond that is given back when jemalloc has waited, for a second here and not for ten.
        warm_at = time.monotonic() + 3
        await work(served, token, lambda: time.monotonic() > warm_at)
        warm = served.resident_kib()
        for _ in range(8):  # with as many allowed as there were: each round shows that the one before was forgotten
            async with asyncio.timeout(60):
                took.append((await one_round(served, token))[1])
        assert min(took) < 1  # in one of them a neighbour on the machine may be what is slow
        await work(served, token, lambda: served.resident_kib() < warm + FORGOTTEN * each)
        print(
            f"{each:.1f} KiB each, {min(took):.3f} to {max(took):.3f} s, {cold} cold, {held} open, {warm} warm, {served.resident_kib()} after"
        )
