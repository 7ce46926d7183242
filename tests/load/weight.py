"""What a stream and a live token weigh on a worker, and what it costs to tell all streams of a change."""

import asyncio
import itertools
import time
from collections.abc import Sequence
from typing import Final

import msgspec

from tests.load import vegeta
from tests.load.kinds import CALL, targets
from tests.load.measuring import write
from tests.load.place import LOAD_CORE, Around, used
from tests.operate.client import connected
from tests.operate.idle import descriptors_for, open_streams
from tests.operate.pulse import PULSE

WANTED: Final = {"resourceSubscriptions": [PULSE]}
PULSES: Final = 5
IDLE_S: Final = 5.0
HEARD_S: Final = 20.0


class Weight(msgspec.Struct, kw_only=True):
    """Of one worker: MiB when it has served some calls, KiB of each token and stream, what streams cost."""

    worker_mib: float
    tokens: int
    token_kib: float
    streams: int
    stream_kib: float
    stream_files: float
    idle_us: float
    """Of the processor, a second, for one stream that nothing happens on."""
    event_us: float
    """Of the processor, to tell one stream of one change."""
    heard_ms: float
    """Until the last stream had heard, the median of the changes."""


async def weigh(around: Around, known: Sequence[str], fresh: Sequence[str], streams: int) -> Weight:
    """A new worker: tokens that are new first, then streams."""
    file, rate = around.folder / "targets", 1000.0
    with descriptors_for(streams):
        async with around.serving() as server:
            write(file, targets(CALL, around.url, known[:1]))
            await vegeta.attack(file, 80, 2, once=False, cores=LOAD_CORE)  # of one caller, below its limit
            light = used(server)
            write(file, targets(CALL, around.url, fresh))
            await vegeta.attack(file, rate, len(fresh) / rate, once=True, cores=LOAD_CORE)
            before = used(server)
            lines = await open_streams(around.port, itertools.islice(itertools.cycle(known), streams), WANTED)
            heavy = used(server)
            await asyncio.sleep(IDLE_S)
            idle = used(server)
            heard = await _pulses(around, known[0], [reader for reader, _ in lines])
            told = used(server)
            for _, writer in lines:
                writer.close()
    return Weight(
        worker_mib=light.kib / 1024,
        tokens=len(fresh),
        token_kib=(before.kib - light.kib) / len(fresh),
        streams=streams,
        stream_kib=(heavy.kib - before.kib) / streams,
        stream_files=(heavy.files - before.files) / streams,
        idle_us=(idle.seconds - heavy.seconds) / streams / IDLE_S * 1e6,
        event_us=(told.seconds - idle.seconds) / streams / PULSES * 1e6,
        heard_ms=sorted(heard)[len(heard) // 2] * 1e3,
    )


async def _pulses(around: Around, token: str, readers: Sequence[asyncio.StreamReader]) -> list[float]:
    """Tell all of some changes, one after the other; how long it took each time until the last had heard."""
    took = []
    async with connected(f"{around.url}/mcp") as client:
        for _ in range(PULSES):
            hearing = asyncio.gather(*(_hear(one) for one in readers))
            began = time.monotonic()
            answer = await client.modern(token, "tools/call", {"name": "pulse", "arguments": {}})
            if answer.text != "told":
                raise vegeta.LoadError(f"no change could be told: {answer.told()}")
            async with asyncio.timeout(HEARD_S):
                await hearing
            took.append(time.monotonic() - began)
    return took


async def _hear(reader: asyncio.StreamReader) -> None:
    while b"resources/updated" not in (line := await reader.readline()):
        if not line:
            raise ConnectionError("a stream has ended")
