"""Faults of a worker that goes on existing: it stands still, its loop is blocked, it has no descriptor left."""

import asyncio
import contextlib
import os
import signal
import time
from functools import partial
from typing import Final

from tests.kit.served import running
from tests.kit.stack import until
from tests.operate.client import connected, new_call
from tests.operate.processes import Server, descriptors, processor_s
from tests.operate.section import HUNG_S, Place
from tests.operate.verdicts import Judged

NOTICED_S: Final = 8.0
"""Within so long a worker that hangs must be another's place, beside what is waited for."""
HANGS: Final = b"a worker hangs; it is killed and replaced"
FILES: Final = 900
"""The hard limit of open files of a server: fewer than its connections would be."""
STRANGERS: Final = 900
EMPTY_S: Final = 8.0
SPARE: Final = 64
"""Descriptors that a worker must have left then, for its log, the store, the issuer, calls to APIs."""
SPINS: Final = 0.3
"""Of a core: a worker that can take no connection must not try all the time, which alone is two thirds of one."""


async def hung(place: Place) -> None:
    """A worker of one process is stopped (SIGSTOP), that of another blocked by its own handler; two workers each."""
    stopped, blocked = place.servers[:2]
    place.deaf_s = (HUNG_S + 3) / 2  # of its two workers one
    first = stopped.workers()[0]
    os.kill(first, signal.SIGSTOP)
    place.note(f"one of the {len(stopped.workers())} workers of server {stopped.number} is stopped (SIGSTOP)")
    await _replaced(place, stopped, first, "stopped")
    await asyncio.sleep(2)
    before = blocked.workers()
    async with connected(f"http://localhost:{blocked.port}/mcp") as client:
        params = {"name": "block", "arguments": {"call": new_call(), "seconds": 600}}
        asking = asyncio.create_task(client.modern(place.tokens[0], "tools/call", params, fresh=True))
        place.note(f"a handler blocks the loop of one of the workers of server {blocked.number}")
        await _replaced(place, blocked, before, "blocked")
        answer = await asking
        place.note(f"the call that blocked it: {answer.told()}")
    await asyncio.sleep(8)  # the lease of a task of a killed worker


async def _replaced(place: Place, server: Server, of: int | list[int], what: str) -> None:
    before, began = [of] if isinstance(of, int) else of, time.monotonic()
    count = len(server.workers())

    async def another() -> bool:
        now = server.workers()
        return len(now) == count and any(pid not in now for pid in before)

    with contextlib.suppress(TimeoutError):
        await until(another, HUNG_S + NOTICED_S)
    took = time.monotonic() - began
    said = HANGS in server.log.read_bytes()
    figures = f"after {took:.1f} s; {HUNG_S} s are waited for; the log says so: {said}"
    place.more.append(Judged(f"a {what} worker is replaced", said and took < HUNG_S + NOTICED_S, figures))
    await server.ready()


async def files(place: Place) -> None:
    """A server may open few files, and strangers open more connections than that; then they go."""
    server = place.servers[0]
    server.under = ("prlimit", f"--nofile={FILES}:{FILES}")
    await place.restart(server, f" and may open {FILES} files")
    (pid,) = server.workers()
    lines = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(STRANGERS)]
    place.note(f"{STRANGERS} connections to server {server.number} say nothing")
    used, began = processor_s(pid), time.monotonic()
    await asyncio.sleep(EMPTY_S)
    share, left = (processor_s(pid) - used) / (time.monotonic() - began), FILES - descriptors(pid)
    figures = f"{share:.0%} of a core, {left} of {FILES} files are left"
    place.more.append(Judged("a worker without room for connections waits", share <= SPINS and left >= SPARE, figures))
    for _, writer in lines:
        writer.transport.abort()
    place.note(f"the connections are gone, the worker has {descriptors(pid)} descriptors")
    began = time.monotonic()
    with contextlib.suppress(TimeoutError):
        await until(partial(_serves, place, server), 10)
    took = time.monotonic() - began
    same = running(pid) and server.workers() == [pid]
    figures = f"after {took:.1f} s, the same worker: {same}"
    place.more.append(Judged("it serves when they have gone, and lives", took < 10 and same, figures))
    server.under = ()
    await place.restart(server, " and may open as many as before")


async def _serves(place: Place, server: Server) -> bool:
    async with connected(f"http://localhost:{server.port}/mcp") as client:
        answer = await asyncio.wait_for(client.modern(place.tokens[0], "tools/list", {}, fresh=True), 5)
        return bool(answer.result.get("tools"))
