"""The load of plain calls: vegeta, an open model, which begins each call when it is due and starts as many at once."""

import asyncio
import os
import subprocess
from pathlib import Path
from typing import Final

from tests.kit.served import ROOT
from tests.load import hits
from tests.load.hits import Hit

PROGRAM: Final = ROOT / "tests" / "go" / "bin" / "vegeta"
PATIENCE_S: Final = 20
MAX_BODY: Final = 64 * 1024
CONNECTIONS: Final = 32
AT_ONCE: Final = 256
"""Calls on their way at the most. One that finds no room is begun late, and has waited since it was due (`hits.py`);
without a bound each call of a stall opens a connection, until the machine has no port left and the load fails itself."""


class LoadError(Exception):
    """What makes the load failed itself."""


async def attack(targets: Path, rate: float, seconds: float, *, once: bool, cores: str) -> list[Hit]:
    """So many calls a second for so long: of the targets in turn, or of each `once`; what came of each."""
    how = (f"-rate={round(rate * 60)}/1m", f"-max-workers={AT_ONCE}", *(("-lazy",) if once else ()))
    return await _attack(targets, seconds, cores, *how)


async def closed(targets: Path, seconds: float, *, cores: str) -> list[Hit]:
    """A closed model for comparison: connections that never pause."""
    return await _attack(targets, seconds, cores, "-rate=0", f"-max-workers={CONNECTIONS}")


async def _attack(targets: Path, seconds: float, cores: str, *how: str) -> list[Hit]:
    out = targets.with_suffix(".bin")
    say = ("attack", "-format=json", f"-targets={targets}", f"-duration={seconds}s", f"-timeout={PATIENCE_S}s")
    await _run(cores, *say, f"-max-body={MAX_BODY}", "-http2=false", f"-output={out}", *how)
    return await asyncio.to_thread(hits.decoded, await _run(cores, "encode", "-to=json", str(out)))


async def _run(cores: str, *arguments: str) -> bytes:
    child = await asyncio.create_subprocess_exec(
        *("taskset", "-c", cores, str(PROGRAM)),
        *arguments,
        env={"PATH": os.environ["PATH"], "GOMAXPROCS": str(cores.count(",") + 1)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        said, wrong = await child.communicate()
    except asyncio.CancelledError:
        child.terminate()
        raise
    if child.returncode:
        raise LoadError(f"vegeta {arguments[0]}: {wrong.decode()[-300:]}")
    return said


def version() -> str:
    """Which one it is."""
    if not PROGRAM.exists():
        return "not there"
    said = subprocess.run(("go", "version", "-m", str(PROGRAM)), capture_output=True, text=True, check=False).stdout
    return next((line.split()[2] for line in said.splitlines() if line.split()[:1] == ["mod"]), "?")
