"""`python -m tests.operate.soak --minutes N`: lifetimes of a minute, so that an hour turns over what a day does.

Memory and descriptors of each worker, and p99, by the slope of their last four fifths; then ten thousand idle streams
on one worker. Writes nothing but to standard output; 1 when something grows.
"""

import argparse
import asyncio
import contextlib
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from tests.kit.served import resident_kib
from tests.operate import machine, report
from tests.operate.__main__ import apart
from tests.operate.around import Around, ports
from tests.operate.client import Client
from tests.operate.figures import Histogram, settled, slope
from tests.operate.idle import idle_streams
from tests.operate.listeners import Listeners
from tests.operate.load import Load, Shape
from tests.operate.processes import descriptors
from tests.operate.section import Place, Plan
from tests.operate.verdicts import Judged, calls_good, listeners_whole
from tests.operate.watching import TaskWatch

SHAPE: Final = Shape(rate=40, longest_s=2, listeners=100, sessions=12, tasks=10**6)
LOOK_S: Final = 5.0
TASK_TTL_S: Final = 30
SETTINGS: Final = {
    "MCP_WORKERS": "2",
    "MCP_TASK_TTL_S": str(TASK_TTL_S),
    "MCP_JWKS_TTL_S": "60",
    "MCP_JWKS_STALE_S": "120",
    "MCP_STATE_TTL_S": "60",
    "MCP_KEEP_ALIVE_S": "5",
    "MCP_AUDIT_MAX_BYTES": "1000000",
    "MCP_AUDIT_KEEP": "2",
}
NOISE: Final = 3.0
"""Of the typical distance from the median: growth below it is none."""


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """One look: seconds since the beginning, KiB and descriptors of each worker, keys in Redis, p99 since the last."""

    at: float
    kib: Sequence[float]
    files: Sequence[float]
    keys: float
    p99_ms: float


async def nothing(_: Place) -> None:
    """No fault but time."""


PLAN: Final = Plan(name="soak", about="lifetimes of a minute", faults=nothing, settings=SETTINGS)


def main() -> int:
    """Soak for as long as asked; 1 where something grows, or a good call failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.operate.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60, help="0 for the idle streams alone")
    parser.add_argument("--streams", type=int, default=10_000, help="idle ones on one worker, afterwards; 0 for none")
    parser.add_argument("--rate", type=float, default=SHAPE.rate)
    options = parser.parse_args()
    apart(sys.argv[1:], "tests.operate.soak")
    folder = Path(tempfile.mkdtemp(prefix="operate-"))
    shape = msgspec.structs.replace(SHAPE, rate=options.rate)
    text, judged = asyncio.run(_whole(folder, shape, options.minutes * 60, options.streams))
    print(text)
    shutil.rmtree(folder)
    return 0 if all(one.held for one in judged) else 1


async def _whole(folder: Path, shape: Shape, seconds: float, streams: int) -> tuple[str, list[Judged]]:
    ours = asyncio.current_task()
    assert ours
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ours.cancel)  # what was started ends with us
    about = "\n".join(f"| {name} | {value} |" for name, value in machine.described())
    text, judged = f"# A soak of {seconds / 60:.0f} minutes\n\n| | |\n|---|---|\n{about}\n", list[Judged]()
    if seconds:
        async with Around(folder, ports()).running() as around:
            looks, judged = await _soak(around, folder, shape, seconds)
        judged += grown(looks)
        text += f"\n{report.judgements(judged)}"
    if streams:
        idle = await idle_streams(folder, streams)
        judged += idle
        text += f"\n## {streams} idle streams on one worker\n\n{report.judgements(idle)}"
    return text, judged


async def _soak(around: Around, folder: Path, shape: Shape, seconds: float) -> tuple[list[Look], list[Judged]]:
    place = Place(around, PLAN, shape, folder / "soak", times=0)
    place.servers = place.servers[:1]
    async with place.serving() as client:
        over = asyncio.Event()
        load, listeners = Load(client, place.tokens, shape), Listeners(client, place.tokens, shape.listeners)
        watch = TaskWatch(client, place.tokens, shape.tasks, shape.longest_s, forget_s=TASK_TTL_S / 2)
        churn = asyncio.create_task(_churn(client, place, over))
        jobs = [load.run(over), listeners.run(over), watch.run(over, 2.0), churn]
        running = asyncio.gather(*jobs)
        looks = await _look(place, load, seconds)
        over.set()
        await asyncio.gather(*(server.end() for server in place.servers))
        await running
    return looks, [calls_good(load.calls, frozenset()), *listeners_whole(listeners.seen, 0)[:1]]


async def _churn(client: Client, place: Place, over: asyncio.Event) -> None:
    """Legacy sessions that begin, call once and end by DELETE."""
    number = 0
    while not over.is_set():
        token = place.tokens[number]
        number += 1
        answer = await client.open_session(token)
        if answer.session:
            await client.legacy(token, "tools/list", {}, session=answer.session)
            await client.close_session(token, answer.session)
        await asyncio.sleep(0.5)


async def _look(place: Place, load: Load, seconds: float) -> list[Look]:
    looks: list[Look] = []
    server, began, seen = place.servers[0], time.monotonic(), 0
    workers = server.workers()
    while (at := time.monotonic() - began) < seconds:
        await asyncio.sleep(LOOK_S)
        latencies = Histogram()
        for call in load.calls.all[seen:]:
            latencies.add(call.beyond)
        seen = len(load.calls.all)
        async with place.around.store(await place.around.master()) as redis:
            keys = float(await redis.dbsize())
        with contextlib.suppress(FileNotFoundError):
            kib = [float(resident_kib(pid)) for pid in workers]
            files = [float(descriptors(pid)) for pid in workers]
            look = Look(at=at, kib=kib, files=files, keys=keys, p99_ms=latencies.percentile(0.99) * 1e3)
            looks.append(look)
            print(f"{at:5.0f} s {kib} KiB {files} files {keys} keys p99 {look.p99_ms:.0f} ms", file=sys.stderr)
    return looks


def grown(looks: Sequence[Look]) -> list[Judged]:
    """Whether what should be level grows: its slope over the time looked at, against its own noise."""
    found = []
    for worker in range(len(looks[0].kib)):
        found.append(
            level(f"memory of worker {worker}, MiB", [(one.at, one.kib[worker] / 1024) for one in looks], 0.05)
        )
        found.append(level(f"descriptors of worker {worker}", [(one.at, one.files[worker]) for one in looks], 0.1))
    found.append(level("keys in Redis", [(one.at, one.keys) for one in looks], 0.1))
    found.append(level("p99, ms", [(one.at, one.p99_ms) for one in looks], 0.5))
    return found


def level(what: str, points: Sequence[tuple[float, float]], share: float) -> Judged:
    """The growth of the last four fifths must be within `share` of the median, or within the noise."""
    taken = settled(points)
    values = [value for _, value in taken]
    middle, per_second = statistics.median(values), slope(taken)
    noise = NOISE * statistics.median(abs(value - middle) for value in values)
    growth = per_second * (taken[-1][0] - taken[0][0])
    figures = f"median {middle:.1f}, slope {per_second * 3600:+.2f} an hour, {growth:+.2f} in all, noise {noise:.2f}"
    return Judged(f"level: {what}", growth <= max(share * middle, noise), figures)


if __name__ == "__main__":
    sys.exit(main())
