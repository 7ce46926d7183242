"""The processes of a run: three servers, and Redis, sentinel, haproxy and the issuer around them."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import httpx
import msgspec

from tests.kit.served import ROOT, resident_kib
from tests.kit.stack import listens, until

READY_S: Final = 180.0
TARGET: Final = "tests.operate.server:server"
STARTED: Final = b"Started worker"
"""In the log: granian's word for a worker whose application has begun."""


class Process:
    """One child, ended by its id."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self._command, self.environment, self.log = command, dict(environment), log
        self.under: Sequence[str] = ()
        """A command that starts it, with what that is told."""
        self.stdout: int | None = None
        self.stderr: int | None = None
        """Descriptors in the place of the log."""
        self.child: asyncio.subprocess.Process | None = None
        self.said = 0
        """The bytes of the log before this start."""

    @property
    def pid(self) -> int:
        """Of the child that runs."""
        assert self.child
        return self.child.pid

    async def start(self) -> None:
        """Begin; what it says is added to the log."""
        self.said = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.child = await asyncio.create_subprocess_exec(
                *self.under,
                *self._command,
                cwd=ROOT,
                env={"PATH": os.environ["PATH"], **self.environment},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log if self.stdout is None else self.stdout,
                stderr=log if self.stderr is None else self.stderr,
            )

    def signal(self, number: int) -> None:
        """Tell it; one that is gone hears nothing."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    async def stop(self, within_s: float = 60) -> int:
        """Ask it to end, at last insist; its exit code."""
        assert self.child
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(within_s):
                return await self.child.wait()
        except TimeoutError:
            self.signal(signal.SIGKILL)
            return await self.child.wait()

    async def gone(self) -> None:
        """It has ended, or ends now, whatever state it is in."""
        if self.child is not None and self.child.returncode is None:
            self.signal(signal.SIGCONT)
            await self.stop(30)


class Stop(msgspec.Struct, frozen=True):
    """One end of a server: what it exited with, and after how long."""

    server: int
    code: int
    seconds: float


class Server(Process):
    """One `mcp-server serve` of a target, under a command; it can be restarted; its stops are remembered."""

    def __init__(
        self,
        number: int,
        port: int,
        folder: Path,
        environment: Mapping[str, str],
        command: Sequence[str] = (),
        *,
        target: str = TARGET,
    ) -> None:
        own = {"MCP_PORT": str(port), "MCP_AUDIT_FILE": str(folder / f"audit-{number}.jsonl")}
        serve = (sys.executable, "-m", "mcp_server", "serve", target)
        super().__init__((*command, *serve), {**environment, **own}, folder / f"server-{number}.log")
        self.number, self.port = number, port
        self.stops: list[Stop] = []

    async def ready(self) -> None:
        """Wait until it has a worker, its port answers, and it can judge tokens; another may answer at the same port."""

        async def has_begun() -> bool:
            return self.stderr is not None or STARTED in self.log.read_bytes()[self.said :]

        await until(has_begun, READY_S)
        async with httpx.AsyncClient(trust_env=False, timeout=5) as http:

            async def is_ready() -> bool:
                with contextlib.suppress(httpx.TransportError):
                    return (await http.get(f"http://localhost:{self.port}/readyz")).status_code == 200
                return False

            await until(is_ready, READY_S)

    def workers(self) -> list[int]:
        """The processes that answer."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]
        return []

    async def end(self) -> Stop:
        """SIGTERM; what became of it."""
        began = time.monotonic()
        stop = Stop(self.number, await self.stop(), time.monotonic() - began)
        self.stops.append(stop)
        return stop

    def weight(self) -> tuple[int, int]:
        """KiB and descriptors of its workers."""
        kib = files = 0
        for pid in self.workers():
            with contextlib.suppress(OSError, StopIteration):
                kib += resident_kib(pid)
                files += descriptors(pid)
        return kib, files


async def until_listens(port: int) -> None:
    """Wait until a connection is taken."""
    await until(lambda: listens(port), READY_S)


def processor_s(pid: int) -> float:
    """What a process has used of the processor, all its threads; its CPU-time clock (clock_getcpuclockid(3))."""
    return time.clock_gettime((~pid << 3) | 2)


def descriptors(pid: int) -> int:
    """How many a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))
