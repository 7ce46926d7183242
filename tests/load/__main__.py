"""`python -m tests.load`: what one server carries, and `docs/load-report.md`; 1 when a call was not answered rightly.

The server has core 0, the load and Redis core 1, in a network namespace of their own where the kernel lets it: run it
while nothing else does. `--short` is a rehearsal of a minute, whose page is printed and not kept.
"""

import argparse
import asyncio
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.kit.served import ROOT
from tests.load import report, vegeta
from tests.load.kinds import CALL, ONCE, OTHERS
from tests.load.measuring import KNOWN, Bench, Row, enough_cores
from tests.load.place import BOTH, LOAD_CORE, Around, around
from tests.load.report import Findings
from tests.load.weight import weigh
from tests.operate.__main__ import apart

REPORT: Final = ROOT / "docs" / "load-report.md"
SHARES: Final = (0.25, 0.5, 0.75, 0.9)
"""Of what one worker's core answers at most: the rates of the first table."""
HALF: Final = 0.5
"""The share at which kinds of calls are compared."""
WORKERS: Final = (1, 2, 4, 8)
NEW_TOKENS: Final = 500.0
"""A second: the rate of calls with tokens that nobody has seen."""
WEIGHED: Final = 3500
"""New tokens that are weighed: fewer than a worker remembers."""


class Size:
    """How long and how often: of the whole run, or of its rehearsal."""

    def __init__(self, *, short: bool, rounds: int, seconds: float) -> None:
        self.rounds = rounds or (1 if short else 3)
        self.seconds = seconds or (1.0 if short else 3.0)
        self.shares = SHARES[:2] if short else SHARES
        self.workers = WORKERS[:2] if short else WORKERS
        self.streams = 200 if short else 2000
        self.weighed = 500 if short else WEIGHED
        self.fresh = self.weighed + round((self.rounds + 1) * (NEW_TOKENS * self.seconds + 10))


def main() -> int:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.load", description=__doc__)
    parser.add_argument("--short", action="store_true", help="a rehearsal: fewer and shorter rounds, no page in docs")
    parser.add_argument("--rounds", type=int, default=0, help="rounds of each row (3)")
    parser.add_argument("--seconds", type=float, default=0, help="seconds of a round (3)")
    parser.add_argument("--note", default="", help="what else ran on the machine, for the page")
    parser.add_argument("--page", type=Path, default=None, help="where the page is written instead")
    options = parser.parse_args()
    lacking = [name for name in ("taskset", "redis-server") if shutil.which(name) is None]
    lacking += [] if vegeta.PROGRAM.exists() else ["tests/go/bin/vegeta (make load builds it)"]
    if lacking or not enough_cores():
        print(f"needs {' and '.join(lacking) or 'two cores'}", file=sys.stderr)
        return 2
    apart(sys.argv[1:], "tests.load")
    folder = Path(tempfile.mkdtemp(prefix="load-"))
    size = Size(short=options.short, rounds=options.rounds, seconds=options.seconds)
    try:
        found = asyncio.run(_all(folder, size))
    finally:
        shutil.rmtree(folder)
    text = report.page(found, size.seconds, options.note)
    print(text)
    page = options.page or (None if options.short else REPORT)
    if page:
        page.write_text(text)
    return 1 if any(row.errors for row in found.all()) else 0


async def _all(folder: Path, size: Size) -> Findings:
    task = asyncio.current_task()
    assert task
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)  # what was started ends with us
    began = time.monotonic()
    async with around(folder) as place:
        _say("tokens are minted")
        known = await asyncio.to_thread(place.tokens.minted, KNOWN)
        fresh = await asyncio.to_thread(place.tokens.minted, size.fresh)
        os.sched_setaffinity(0, {int(LOAD_CORE)})
        weighed, fresh = fresh[: size.weighed], fresh[size.weighed :]
        found = await _one_worker(place, known, fresh, size)
        found.workers = await _several(place, known, size, found.base * HALF)
        _say("tokens and streams are weighed")
        found.weight = await weigh(place, known, weighed, size.streams)
    found.took_s = time.monotonic() - began
    return found


async def _one_worker(place: Around, known: list[str], fresh: list[str], size: Size) -> Findings:
    """The ladder of rates and the kinds of calls, every row once, then every row again; then without a store."""
    async with place.serving() as server:
        bench = Bench(place, server, known, fresh)
        await bench.warm(500)
        base = await bench.ceiling(size.seconds)
        _say(f"connections that never pause: {base:.0f} calls a second")
        found = Findings(base=base)
        found.ladder = [Row(name=f"{share:.0%}", rounds=[]) for share in size.shares]
        others = [Row(name=kind.name, rounds=[]) for kind in OTHERS]
        for _ in range(size.rounds):
            await bench.warm(base / 4)
            for row, share in zip(found.ladder, size.shares, strict=True):
                row.rounds.append(await bench.round(CALL, base * share, size.seconds))
                _told(row)
            for row, kind in zip(others, OTHERS, strict=True):
                rate = NEW_TOKENS if kind.callers in ONCE else base * HALF * kind.share
                row.rounds.append(await bench.round(kind, rate, size.seconds))
                _told(row)
    async with place.serving(store=False) as server:
        bench = Bench(place, server, known, [])
        await bench.warm(base / 4)
        alone = Row(name=f"{CALL.name}, no Redis", rounds=[])
        for _ in range(size.rounds):
            alone.rounds.append(await bench.round(CALL, base * HALF, size.seconds))
            _told(alone)
    half = found.ladder[size.shares.index(HALF)]
    found.kinds = [Row(name=CALL.name, rounds=half.rounds), alone, *others]
    return found


async def _several(place: Around, known: list[str], size: Size, rate: float) -> list[Row]:
    """The same rate for 1, 2, 4 and 8 workers, which share both cores with the load."""
    rows = []
    for count in size.workers:
        async with place.serving(workers=count, cores=BOTH) as server:
            bench, row = Bench(place, server, known, []), Row(name=str(count), rounds=[])
            await bench.warm(rate / 2)
            for _ in range(size.rounds):
                row.rounds.append(await bench.round(CALL, rate, size.seconds, cores=BOTH))
        rows.append(row)
        _told(row)
    return rows


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _told(row: Row) -> None:
    last = row.rounds[-1]
    p99 = last.round.latencies.percentile(0.99) * 1e3
    _say(f"{row.name}: {last.round.achieved:.0f}/s, {last.cpu_us:.0f} µs, p99 {p99:.1f} ms {dict(last.round.errors)}")


if __name__ == "__main__":
    sys.exit(main())
