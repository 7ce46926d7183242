"""A section of the run: three servers under load while its faults happen, and what must have held in the end."""

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final, Literal

import msgspec

from devstack.up import SERVICE_CLIENT
from tests.kit.stack import IMPLIES
from tests.operate import verdicts
from tests.operate.around import Around
from tests.operate.client import Client, connected
from tests.operate.figures import Histogram
from tests.operate.listeners import Listeners
from tests.operate.load import Load, Shape
from tests.operate.processes import Server
from tests.operate.tally import TALLY
from tests.operate.tokens import Tokens
from tests.operate.verdicts import Audited, Executions, Judged
from tests.operate.watching import TaskWatch

DRAIN_S: Final = 2
HUNG_S: Final = 5
CLOSING_S: Final = 9
"""What docs/operate.md says whoever kills must wait beside the two settings."""
SPARE: Final = 3
"""Lines of the audit that a kill may cost: what was gathered in the 50 ms before it."""
WARM_S: Final = 3.0
HEAR_S: Final = 10.0
STATE_KEY: Final = "a-key-of-the-proof-by-load-and-fault"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a section does; `may_wait` are kinds of calls to which "not now" is a right answer in it."""

    name: str
    about: str
    faults: Callable[["Place"], Awaitable[None]]
    settings: Mapping[str, str] = {}
    one_port: bool = False
    """The servers share one port (SO_REUSEPORT), and nothing stands before them."""
    may_wait: frozenset[str] = frozenset()
    kills: int = 0
    """How many; then what is lost with them is counted apart."""
    share: float = 1.0
    """Of the rate of the other sections."""
    disturbs: Literal["", "streams", "records"] = ""
    """Whether the section itself cuts streams, or spoils what is kept: sessions and tasks are judged by other promises."""


class Seen(msgspec.Struct, kw_only=True):
    """What came of a section."""

    plan: Plan
    asked: float
    achieved: float
    latencies: Histogram
    judged: list[Judged]
    notes: list[str]
    took_s: float = 0.0

    @property
    def held(self) -> bool:
        """Whether all of it did."""
        return all(one.held for one in self.judged)


class Place:
    """The running section: its servers, and what faults may reach."""

    def __init__(self, around: Around, plan: Plan, shape: Shape, folder: Path, *, times: int) -> None:
        folder.mkdir()
        self.around, self.plan, self.shape, self.folder = around, plan, shape, folder
        self.times = times
        """How often each process is restarted."""
        self.stop_s = round(shape.longest_s + 2)
        ports = [around.at.shared] * len(around.at.servers) if plan.one_port else around.at.servers
        self.port = around.at.shared if plan.one_port else around.at.front
        """Where clients connect."""
        self.servers = [Server(one, port, folder, self._environment()) for one, port in enumerate(ports)]
        self.notes: list[str] = []
        self.more: list[Judged] = []
        """Promises of the section's own."""
        self.deaf_s = 0.0
        """How long a process may have taken calls in that it then lost: those of its share may be lost, too."""
        self.load: Load
        self.watch: TaskWatch
        self.began = time.monotonic()
        self.url, self.tokens = (
            f"http://localhost:{self.port}/mcp",
            Tokens(around.at.issuer_url, around.at.resource, every_s=15),
        )
        self.listeners: Listeners

    def _environment(self) -> dict[str, str]:
        at = self.around.at
        return {
            "MCP_ISSUER": at.issuer_url,
            "MCP_RESOURCE": at.resource,
            "MCP_REDIS_URL": f"redis://127.0.0.1:{at.store}/0",
            "MCP_STATE_KEYS": STATE_KEY,
            "MCP_SCOPE_IMPLIES": IMPLIES,
            "MCP_SERVICE_CLIENTS": SERVICE_CLIENT,
            "MCP_TRUSTED_PROXIES": "127.0.0.1",
            "MCP_DRAIN_S": str(DRAIN_S),
            "MCP_STOP_S": str(self.stop_s),
            "MCP_HUNG_WORKER_S": str(HUNG_S),
            "MCP_JWKS_TTL_S": "5",
            "MCP_JWKS_COOLDOWN_S": "2",
            "MCP_MAX_CALLS_PER_PRINCIPAL": "5000",
            "MCP_MAX_CALLS_PER_SECOND_PER_PRINCIPAL": "10000",
            "MCP_MAX_STREAMS_PER_PRINCIPAL": "5000",
            TALLY: str(self.folder / "tally"),
            **({"MCP_REUSE_PORT": "true"} if self.plan.one_port else {}),
            **self.plan.settings,
        }

    def note(self, text: str) -> None:
        """Something for the report."""
        self.notes.append(f"{time.monotonic() - self.began:.0f} s: {text}")

    async def restart(self, server: Server, because: str = "") -> None:
        """SIGTERM, the end, and a new process at the same place."""
        stop = await server.end()
        await server.start()
        await server.ready()
        self.note(f"server {server.number} ended with {stop.code} after {stop.seconds:.1f} s, is back{because}")

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Client]:
        """The servers are up, in their order: of the three that share a port none is asked for another."""
        try:
            for server in self.servers:
                await server.start()
                if self.plan.one_port:
                    await server.ready()
            await asyncio.gather(*(server.ready() for server in self.servers))
            async with self.tokens.kept(), connected(self.url) as client:
                yield client
        finally:
            for server in self.servers:
                await server.gone()


async def run(plan: Plan, around: Around, shape: Shape, folder: Path, *, times: int) -> Seen:
    """One section, from the start of its servers to its verdicts."""
    shape = msgspec.structs.replace(shape, rate=shape.rate * plan.share)
    place = Place(around, plan, shape, folder, times=times)
    began = time.monotonic()
    async with place.serving() as client:
        over, silent = asyncio.Event(), asyncio.Event()
        place.load = load = Load(client, place.tokens, shape)
        place.listeners = listeners = Listeners(client, place.tokens, shape.listeners)
        place.watch = watch = TaskWatch(client, place.tokens, shape.tasks, shape.longest_s)
        place.began = time.monotonic()
        jobs = [
            asyncio.create_task(load.run(over)),
            asyncio.create_task(listeners.run(silent)),
            asyncio.create_task(watch.run(over, 0.5)),
        ]
        try:
            await asyncio.sleep(WARM_S)
            await plan.faults(place)
            await asyncio.sleep(WARM_S)
            over.set()
            await asyncio.wait([jobs[0], jobs[2]])
            deaf = await _pulse(client, place, listeners)
            silent.set()
            await asyncio.gather(*(server.end() for server in place.servers))
            await asyncio.gather(*jobs)
        finally:
            for job in jobs:
                job.cancel()
    judged = _judge(place, deaf)
    return Seen(
        plan=plan,
        asked=shape.rate,
        achieved=load.asked / load.took_s,
        latencies=load.calls.latencies(),
        judged=judged,
        notes=place.notes,
        took_s=time.monotonic() - began,
    )


async def _pulse(client: Client, place: Place, listeners: Listeners) -> int:
    """Tell all listeners of a change; how many have not heard of it."""
    since = time.monotonic()
    for _ in range(10):
        answer = await client.modern(place.tokens[0], "tools/call", {"name": "pulse", "arguments": {}})
        if answer.text == "told":
            break
        await asyncio.sleep(1)
    return await listeners.hear(HEAR_S, since)


def _judge(place: Place, deaf: int) -> list[Judged]:
    plan, load, watch = place.plan, place.load, place.watch
    ran, audited = Executions.read(place.folder / "tally"), Audited.read(place.folder)
    killed = verdicts.killed_calls(ran) if plan.kills else frozenset[str]()
    whole, heard = verdicts.listeners_whole(place.listeners.seen, deaf)
    if plan.disturbs or plan.kills:
        whole = msgspec.structs.replace(whole, promise="streams (cut by the section itself)", held=True)
    if plan.kills:
        place.notes.append(verdicts.killed_visible(ran, audited, killed))
        place.notes.append(f"requests about tasks that a kill ended: {sum(watch.faults.values())}")
        watch.faults.clear()
    stops = [(one.code, one.seconds) for server in place.servers for one in server.stops]
    spare = plan.kills + math.ceil(place.shape.rate / len(place.servers) * place.deaf_s)
    calls = load.calls.but("session") if plan.disturbs == "records" else load.calls
    stays, ends = verdicts.tasks_stay(watch.seen, watch.faults, all_complete=not plan.kills)
    of_tasks = verdicts.spoiled(load.calls, watch.seen) if plan.disturbs == "records" else (stays, ends)
    return [
        verdicts.calls_good(calls, plan.may_wait, killed, spare),
        verdicts.nothing_ran_that_was_refused(load.calls, ran),
        whole,
        heard,
        verdicts.executions_audited(ran, audited, (one.call for one in watch.seen), killed, spare=SPARE * plan.kills),
        *of_tasks,
        verdicts.exits_right(stops, DRAIN_S + place.stop_s + CLOSING_S),
        *place.more,
    ]


def broken(plan: Plan, shape: Shape, why: str) -> Seen:
    """A section that did not come to its end."""
    judged = [Judged("the section came to its end", held=False, figures=why)]
    return Seen(plan=plan, asked=shape.rate, achieved=0, latencies=Histogram(), judged=judged, notes=[])
