"""Ten thousand idle streams on one worker: what they weigh as time passes, and how fast one more client is served."""

import asyncio
import contextlib
import itertools
import resource
import statistics
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from tests.kit import wire
from tests.operate.around import Around, ports
from tests.operate.client import connected, listening
from tests.operate.load import Shape
from tests.operate.section import Place, Plan
from tests.operate.verdicts import Judged

AT_ONCE: Final = 200
IDLE_S: Final = 60
TOKEN_S: Final = 1800
WITHIN_S: Final = 5.0
GROWTH: Final = 0.03
FILTER: Final = {"toolsListChanged": True}
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _nothing(_: Place) -> None:
    """No fault."""


async def idle_streams(folder: Path, count: int) -> list[Judged]:
    """Open so many, leave them, ask now and then; in the end all must have their last frame."""
    settings = {"MCP_MAX_STREAMS": str(count + 10), "MCP_MAX_STREAMS_PER_PRINCIPAL": str(count + 10)}
    plan = Plan(name="idle", about="idle streams", faults=_nothing, settings=settings, one_port=True)
    shape = Shape(rate=1, longest_s=1, listeners=0, sessions=0, tasks=0)
    with descriptors_for(count):
        async with Around(folder / "idle-around", ports(), token_s=TOKEN_S).running() as around:
            place = Place(around, plan, shape, folder / "idle", times=0)
            place.servers = place.servers[:1]
            async with place.serving():
                return await _filled(place, count)


async def _filled(place: Place, count: int) -> list[Judged]:
    server = place.servers[0]
    before, _ = server.weight()
    began = time.monotonic()
    lines = await open_streams(place.port, (place.tokens[one] for one in range(count)), FILTER)
    opened_s = time.monotonic() - began
    weights, answered = [], []
    async with connected(place.url) as client:
        until = time.monotonic() + IDLE_S
        while time.monotonic() < until:
            asked = time.monotonic()
            answer = await client.modern(place.tokens[0], "tools/list", {}, fresh=True)
            answered.append(time.monotonic() - asked if answer.result else WITHIN_S * 2)
            weights.append(server.weight()[0])
            await asyncio.sleep(2)
    ends = asyncio.gather(*(_last(reader) for reader, _ in lines))
    stop = await server.end()
    whole = sum(await ends)
    for _, writer in lines:
        writer.close()
    third = max(len(weights) // 3, 1)
    first, last = statistics.median(weights[:third]), statistics.median(weights[-third:])
    each = (last - before) / count
    flat = f"{first / 1024:.0f} MiB, then {last / 1024:.0f} MiB: {each:.1f} KiB each; opened in {opened_s:.0f} s"
    slowest = f"slowest of {len(answered)} new clients {max(answered) * 1e3:.0f} ms"
    said = f"{whole} of {count}, exit code {stop.code} after {stop.seconds:.1f} s"
    return [
        Judged("memory is flat", last - first <= GROWTH * first, flat),
        Judged(f"one more is served within {WITHIN_S:.0f} s", max(answered) <= WITHIN_S, slowest),
        Judged("every listener saw its last frame", whole == count and stop.code == 0, said),
    ]


@contextlib.contextmanager
def descriptors_for(streams: int) -> Iterator[None]:
    """Let this process have as many descriptors as so many streams need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = streams + 1000
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard) if hard > 0 else wanted, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def open_streams(port: int, tokens: Iterable[str], wanted: Mapping[str, object]) -> list[Stream]:
    """A stream for each token, `AT_ONCE` of them at a time."""
    lines, left = list[Stream](), iter(tokens)
    while batch := list(itertools.islice(left, AT_ONCE)):
        lines += await asyncio.gather(*(_opened(port, one, wanted) for one in batch))
    return lines


async def _opened(port: int, token: str, wanted: Mapping[str, object]) -> Stream:
    """One stream of what is wanted, after its first message."""
    body = msgspec.json.encode(wire.modern("subscriptions/listen", {"notifications": wanted}))
    fields = {"host": f"localhost:{port}", "content-length": str(len(body)), **listening(token)}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4096)
    writer.write(f"POST /mcp HTTP/1.1\r\n{head}\r\n".encode() + body)
    while b"acknowledged" not in (line := await reader.readline()):
        if not line:
            raise ConnectionError("a stream was refused")
    return reader, writer


async def _last(reader: asyncio.StreamReader) -> bool:
    """Read to the end; whether the last message was the result."""
    whole = False
    while line := await reader.readline():
        if line.startswith(b"data: "):
            whole = b'"resultType":"complete"' in line
    return whole
