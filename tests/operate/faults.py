"""The faults, each a coroutine over a running section."""

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

import aiohttp

from tests.kit.served import running
from tests.kit.stack import until
from tests.operate.processes import Server
from tests.operate.section import Place

AWAY_S: Final = 20.0
"""The issuer: four times what keys are renewed after."""
DISK_KIB: Final = 256
PIPE_BYTES: Final = 4096
"""The smallest pipe: full after a dozen lines."""
STRANGERS: Final = 50
PING: Final = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


async def restarts(place: Place) -> None:
    """Each process as often as asked, one after the other, then new workers by SIGHUP."""
    for _ in range(place.times):
        for server in place.servers:
            await place.restart(server)
    await hang_up(place, place.servers[0])


async def hang_up(place: Place, server: Server) -> None:
    """SIGHUP: other workers take over; the process stays."""
    before, pid = server.workers(), server.pid
    server.signal(signal.SIGHUP)

    async def replaced() -> bool:
        return not set(before) & set(server.workers())

    await until(replaced)
    place.note(f"SIGHUP: {len(before)} worker of server {server.number} replaced, same parent: {server.pid == pid}")


async def issuer(place: Place) -> None:
    """Keys rotated; the issuer stopped past what keys are renewed after, and a process begun meanwhile; back."""
    await place.around.rotate_keys()
    place.note("keys rotated")
    await place.tokens.renew()
    await asyncio.sleep(3)
    place.around.issuer.signal(signal.SIGSTOP)
    began = time.monotonic()
    place.note("the issuer hangs (SIGSTOP)")
    try:
        await asyncio.sleep(AWAY_S / 2)
        await place.restart(place.servers[1], " without the issuer")
        await hang_up(place, place.servers[2])
        await asyncio.sleep(max(AWAY_S - (time.monotonic() - began), 0))
    finally:
        place.around.issuer.signal(signal.SIGCONT)
    place.note(f"the issuer is back after {time.monotonic() - began:.0f} s")
    await place.around.rotate_keys()
    await place.tokens.renew()
    await asyncio.sleep(3)


async def store(place: Place) -> None:
    """Redis paused for 0.6 s and for 3 s, restarted with its append-only file, failed over."""
    for pause_s in (0.6, 3.0):
        async with place.around.store(await place.around.master()) as redis:
            await redis.execute_command("CLIENT", "PAUSE", str(int(pause_s * 1000)), "ALL")
        place.note(f"Redis paused for {pause_s} s")
        await asyncio.sleep(pause_s + 4)
    await place.around.restart_store(away_s=1.5)
    place.note("Redis restarted, from its append-only file")
    await asyncio.sleep(8)
    began = time.monotonic()
    how = await place.around.fail_over()
    place.note(f"Redis failed over by {how}, takes writes again after {time.monotonic() - began:.1f} s")
    await asyncio.sleep(8)


async def sinks(place: Place) -> None:
    """A full disk under one audit, a standard output that nobody reads at another."""
    small = place.folder / "small"
    filler = small / "filler"
    first, second = place.servers[:2]
    small.mkdir()
    if await _run("mount", "-t", "tmpfs", "-o", f"size={DISK_KIB}k", "none", str(small)):
        place.note("no tmpfs may be mounted here: the full disk was left out")
        return await stalled(place, second)
    audit = place.folder / f"audit-{first.number}.jsonl"
    try:
        first.environment["MCP_AUDIT_FILE"] = str(small / audit.name)
        await place.restart(first, f" with its audit on a disk of {DISK_KIB} KiB")
        with contextlib.suppress(OSError):
            filler.write_bytes(b"x" * DISK_KIB * 1024)
        place.note("the disk is full")
        await stalled(place, second)
        filler.unlink()
        await _run("mount", "-o", "remount,size=64m", str(small))
        place.note("the disk has room again")
        await asyncio.sleep(3)
        first.environment["MCP_AUDIT_FILE"] = str(audit)
        await place.restart(first, " with its audit where it was")
        for path in small.glob("audit*"):
            shutil.copy(path, place.folder / path.name.replace("audit", "audit-small"))
    finally:
        await _run("umount", str(small))


async def _run(*command: str) -> int:
    return await (await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)).wait()


async def stalled(place: Place, server: Server) -> None:
    """The server's audit and log go into pipes; nobody reads for a while, though strangers have much logged."""
    pipes = [os.pipe() for _ in range(2)]
    for _, write in pipes:
        fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    kept = server.environment["MCP_AUDIT_FILE"]
    server.environment["MCP_AUDIT_FILE"] = "-"
    server.stdout, server.stderr = (write for _, write in pipes)
    await place.restart(server, " with its audit and its log into pipes that nobody reads")
    for _, write in pipes:
        os.close(write)
    answered = await strangers(server)
    place.note(f"{STRANGERS} requests without a token at server {server.number}: {answered} answered with 401")
    await asyncio.sleep(12)
    place.note("the pipes are read again")
    files = [place.folder / "audit-pipe.jsonl", place.folder / "log-pipe"]
    readings = [
        asyncio.create_task(asyncio.to_thread(_drain, read, file)) for (read, _), file in zip(pipes, files, strict=True)
    ]
    await asyncio.sleep(3)
    server.environment["MCP_AUDIT_FILE"], server.stdout, server.stderr = kept, None, None
    await place.restart(server, " with its audit and log in files")
    await asyncio.wait(readings)


async def strangers(server: Server) -> int:
    """Requests without a token, each of which is logged; how many were answered as they should."""
    answered = 0
    timeout = aiohttp.ClientTimeout(total=5)
    async with aiohttp.ClientSession(timeout=timeout) as http:
        for _ in range(STRANGERS):
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with http.post(f"http://localhost:{server.port}/mcp", json=PING) as got:
                    answered += got.status == 401
    return answered


def _drain(descriptor: int, file: Path) -> None:
    with os.fdopen(descriptor, "rb") as pipe, file.open("wb") as out:
        shutil.copyfileobj(pipe, out)


async def _another(server: Server, before: Sequence[int]) -> bool:
    """Whether as many workers run as did, without the first of those."""
    now = server.workers()
    return len(now) == len(before) and before[0] not in now


async def kills(place: Place) -> None:
    """SIGKILL: a worker of each process, then a whole process, whose worker ends by itself."""
    for server in place.servers:
        before = server.workers()
        os.kill(before[0], signal.SIGKILL)
        await until(partial(_another, server, before))
        await server.ready()
        place.note(f"worker of server {server.number} killed, another serves")
        await asyncio.sleep(4)
    server = place.servers[0]
    orphans = server.workers()
    server.signal(signal.SIGKILL)
    began = time.monotonic()

    async def gone() -> bool:
        return not any(running(pid) for pid in orphans)

    await until(gone)
    place.note(f"server {server.number} killed; its worker drained and was gone after {time.monotonic() - began:.1f} s")
    assert server.child
    await server.child.wait()
    await server.start()
    await server.ready()
    await asyncio.sleep(32)  # a task of a killed worker is given up when its sign of life has lapsed
