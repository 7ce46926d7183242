"""Starts a target pinned to the server's core, waits for it, weighs it and ends it by its id."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from bench import calls
from bench.paths import RESULTS, ROOT
from bench.targets import Kind, Target

SERVER_CORE: Final = 0
LOAD_CORE: Final = 1
PATIENCE: Final = 60.0
POLL: Final = 0.005
FAREWELL: Final = 10.0


class TargetError(Exception):
    """A target did not start, or answered otherwise than the benchmark asks."""


class Running:
    """A started target."""

    def __init__(self, target: Target, process: subprocess.Popen[bytes]) -> None:
        self.target = target
        self._process = process

    def resident(self) -> int:
        """The bytes of memory that its process tree holds: each process's own, and once what the largest one shares.

        A worker shares most pages with the process that it was forked from; a sum of resident sizes counts them twice.
        """
        found = [_memory(pid) for pid in _tree(self._process.pid)]
        return sum(own for own, _ in found) + max((shared for _, shared in found), default=0)

    def processor_s(self) -> float:
        """Seconds of the processor that its process tree has used: CPU-time clocks, clock_getcpuclockid(3)."""
        return sum(time.clock_gettime((~pid << 3) | 2) for pid in _tree(self._process.pid))

    def stop(self) -> None:
        """Ask it to end, then insist; its children are remembered first, as it may leave them."""
        if self._process.poll() is not None:
            return
        family = list(_tree(self._process.pid))
        self._process.terminate()
        try:
            self._process.wait(FAREWELL)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pid in family[1:]:
            with suppress(ProcessLookupError):
                os.kill(pid, 9)


def start(target: Target, token: str) -> tuple[Running, float]:
    """Start it; with it come the seconds from its creation to its first good answer."""
    if _listens(target.port):
        raise TargetError(f"port {target.port} is taken; choose others with --port")
    began = time.perf_counter()
    process = _spawn(target)
    running = Running(target, process)
    try:
        _await_answer(target, process, token, began + PATIENCE)
    except BaseException:
        running.stop()
        raise
    return running, time.perf_counter() - began


def log_path(target: Target) -> Path:
    """Where the target's own output goes."""
    return RESULTS / f"{target.name}.log"


def _spawn(target: Target) -> subprocess.Popen[bytes]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("MCP_", "BENCH_"))}
    with log_path(target).open("wb") as log:
        return subprocess.Popen(
            ["taskset", "-c", str(LOAD_CORE if target.kind is Kind.UPSTREAM else SERVER_CORE), *target.command],
            cwd=ROOT,
            env=inherited | dict(target.environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _await_answer(target: Target, process: subprocess.Popen[bytes], token: str, until: float) -> None:
    last = "no answer"
    while time.perf_counter() < until:
        try:
            last = _try(target, token) or ""
        except OSError as error:
            last = str(error)
        if not last:
            return
        with suppress(subprocess.TimeoutExpired):
            process.wait(POLL)
            raise TargetError(f"ended with {process.returncode}: {_last_words(target)}")
    raise TargetError(f"not ready after {PATIENCE:.0f} s: {last}")


def _try(target: Target, token: str) -> str | None:
    if target.ready_path is not None:
        probe = calls.get(target.port, target.ready_path)
        if probe.status != 200:
            return f"{target.ready_path} answers {probe.status}"
    if target.kind is Kind.UPSTREAM:
        return None
    return calls.complaint(target.call, calls.post(target.port, target.eras[0], target.call, token))


def _listens(port: int) -> bool:
    try:
        calls.get(port, "/")
    except ConnectionRefusedError:
        return False
    except OSError:
        return True
    return True


def _last_words(target: Target) -> str:
    text = log_path(target).read_text(errors="replace").strip()
    return text[-300:] or "it said nothing"


def _tree(pid: int) -> Iterator[int]:
    yield pid
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in (thread / "children").read_text().split():
                yield from _tree(int(child))


def _memory(pid: int) -> tuple[int, int]:
    """The bytes that a process holds alone, and those that others hold too."""
    own = shared = 0
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            name, _, rest = line.partition(":")
            if name.startswith("Private_"):
                own += int(rest.split()[0]) * 1024
            elif name.startswith("Shared_"):
                shared += int(rest.split()[0]) * 1024
    return own, shared
