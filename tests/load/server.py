"""The server under load: the tool of the benchmark, one that watches the loop it runs on, one that tells listeners."""

import asyncio
import gc
import time
from typing import Any, Final

import msgspec

from bench.peers.ours import server
from tests.operate.pulse import offer_pulse

TICK_S: Final = 0.01

__all__ = ["server"]


class Watched(msgspec.Struct):
    """How late the loop was for a timer, in milliseconds, and how long the collector of garbage stopped all."""

    ticks: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    collections: int
    collecting_ms: float


class _Collections:
    """Times what the collector of garbage takes, of any generation."""

    def __init__(self) -> None:
        self.count, self.seconds, self._began = 0, 0.0, 0.0

    def __call__(self, phase: str, _: dict[str, Any]) -> None:
        if phase == "start":
            self._began = time.perf_counter()
        else:
            self.count += 1
            self.seconds += time.perf_counter() - self._began


@server.tool(scopes={"mcp:read"})
async def watch(seconds: float) -> Watched:
    """Set timers for so long, and say how late they were."""
    collected, late, over = _Collections(), list[float](), time.perf_counter() + seconds
    gc.callbacks.append(collected)
    try:
        while (at := time.perf_counter()) < over:
            await asyncio.sleep(TICK_S)
            late.append((time.perf_counter() - at - TICK_S) * 1e3)
    finally:
        gc.callbacks.remove(collected)
    late.sort()
    return Watched(
        ticks=len(late),
        p50_ms=late[len(late) // 2],
        p99_ms=late[len(late) * 99 // 100],
        max_ms=late[-1],
        collections=collected.count,
        collecting_ms=collected.seconds * 1e3,
    )


offer_pulse(server)
