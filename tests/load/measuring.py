"""The measuring of plain calls: rounds of vegeta, and beside each what the server used, and how late its loop was."""

import asyncio
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from redis.asyncio import Redis

from tests.load import hits, vegeta
from tests.load.hits import Round
from tests.load.kinds import CALL, ONCE, Kind, targets
from tests.load.place import LOAD_CORE, Around, used
from tests.operate.client import Client, connected
from tests.operate.processes import Server

KNOWN: Final = 500
"""Callers of which a worker knows the tokens; each stays far below the limits of one."""


class Measured(msgspec.Struct, kw_only=True):
    """A round and what it cost: microseconds of the processor and commands to Redis a call, KiB, descriptors, the loop."""

    round: Round
    cpu_us: float
    commands: float
    kib: int
    files: int
    lag_p99_ms: float
    lag_max_ms: float
    collecting_ms: float

    @property
    def busy(self) -> float:
        """How much of one core the workers were busy for."""
        return self.cpu_us * self.round.achieved / 1e6


class Row(msgspec.Struct, kw_only=True):
    """A row of a table: the rounds of one kind at one rate."""

    name: str
    rounds: list[Measured]

    def middle(self, read: Any) -> float:
        """The median of the rounds, of what is read from each."""
        ordered = sorted(float(read(one)) for one in self.rounds)
        return ordered[len(ordered) // 2]

    @property
    def errors(self) -> Counter[str]:
        """Of all rounds, by class."""
        return sum((one.round.errors for one in self.rounds), Counter[str]())


class Bench:
    """One server under rounds of calls."""

    def __init__(self, around: Around, server: Server, known: Sequence[str], fresh: list[str]) -> None:
        self._around, self._server, self._known, self._fresh = around, server, known, fresh
        self._sessions: list[tuple[str, str]] = []

    async def warm(self, rate: float) -> None:
        """Every known token once on some connection, and the code paths hot; nothing is kept of it."""
        await self.round(CALL, rate, KNOWN * 2 / rate)

    async def ceiling(self, seconds: float) -> float:
        """Calls a second of connections that never pause: what the rates of the rows are shares of."""
        file = self._around.folder / "targets"
        await asyncio.to_thread(write, file, targets(CALL, self._around.url, self._known))
        return hits.pace(await vegeta.closed(file, seconds, cores=LOAD_CORE))

    async def round(self, kind: Kind, rate: float, seconds: float, cores: str = LOAD_CORE) -> Measured:
        """One round at so many calls a second."""
        async with connected(f"{self._around.url}/mcp") as client, Redis.from_url(self._around.store) as redis:
            if kind.callers == "in sessions" and not self._sessions:
                self._sessions = await self._opened(client)
            file = self._around.folder / "targets"
            lines = targets(kind, self._around.url, self._tokens(kind, rate, seconds), self._sessions)
            await asyncio.to_thread(write, file, lines)
            watching = asyncio.create_task(self._watch(client, seconds))
            before, commands = used(self._server), await _commands(redis)
            found = await vegeta.attack(file, rate, seconds, once=kind.callers in ONCE, cores=cores)
            after, more = used(self._server), await _commands(redis) - commands
            watched = await watching
        judged = hits.judged(found, rate, kind.check)
        return Measured(
            round=judged,
            cpu_us=(after.seconds - before.seconds) / judged.count * 1e6,
            commands=more / judged.count,
            kib=after.kib,
            files=after.files,
            lag_p99_ms=max(one["p99_ms"] for one in watched),
            lag_max_ms=max(one["max_ms"] for one in watched),
            collecting_ms=max(one["collecting_ms"] for one in watched),
        )

    def _tokens(self, kind: Kind, rate: float, seconds: float) -> Sequence[str]:
        """Those of the known callers, or enough that nobody has seen; forged ones are never remembered."""
        if kind.callers not in ONCE:
            return self._known
        count = round(rate * seconds) + 1
        if kind.callers == "forged":
            return [self._known[one % len(self._known)] for one in range(count)]
        taken, self._fresh[:] = self._fresh[:count], self._fresh[count:]
        if len(taken) < count:
            raise vegeta.LoadError("too few new tokens were minted")
        return taken

    async def _opened(self, client: Client) -> list[tuple[str, str]]:
        found = [((await client.open_session(token)).session, token) for token in self._known]
        if not all(session for session, _ in found):
            raise vegeta.LoadError("a session could not be opened")
        return found

    async def _watch(self, client: Client, seconds: float) -> list[dict[str, float]]:
        """How late the loops are meanwhile: a call for each worker, whichever takes it."""
        params = {"name": "watch", "arguments": {"seconds": seconds}}
        count = len(self._server.workers())
        calls = (client.modern(self._known[one], "tools/call", params, fresh=True) for one in range(count))
        answers = await asyncio.gather(*calls)
        found = [one.result.get("structuredContent") for one in answers]
        if not all(found):
            raise vegeta.LoadError(f"the loop could not be watched: {[one.told() for one in answers]}")
        return [one for one in found if one]


async def _commands(redis: Any) -> int:
    """How many Redis has been given, this one among them."""
    return int((await redis.info("stats"))["total_commands_processed"])


def write(file: Path, lines: Iterable[bytes]) -> None:
    """The targets of a round."""
    with file.open("wb") as out:
        out.writelines(line + b"\n" for line in lines)


def enough_cores() -> bool:
    """One for the server, one for the load."""
    return len(os.sched_getaffinity(0)) > 1
