"""A server with two workers whose secrets are in all places, and what is done to them while it is called."""

import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from tests.kit.collector import collecting
from tests.kit.managers.server import Fault
from tests.kit.rotation.load import Load
from tests.kit.rotation.parts import ClientSecret, OtlpHeaders, Part, StateKeys, UpstreamSecrets, operated
from tests.kit.rotation.places import PLACES, Places, running_places
from tests.kit.rotation.server_log import ServerLog
from tests.kit.served import Served, running_redis, running_server
from tests.kit.stack import until
from tests.kit.upstreams import api

WORKERS: Final = 2
CALLS: Final = 20
"""So many go well before the next thing is done."""


class Rotated(msgspec.Struct, frozen=True, kw_only=True):
    """One rotation of every secret, each in another place."""

    where: dict[str, str]
    """The place, by the setting."""
    refused: dict[str, bool]
    """Whether the value before is."""
    problems: list[str]
    """What a reading said that met faults."""
    calls: int
    took_s: float


class Rotation:
    """Every secret at a place; `shift` says which."""

    def __init__(self, served: Served, load: Load, places: Places, parts: Sequence[Part]) -> None:
        self.served, self.load, self.places, self.parts = served, load, places, parts
        self.log, self.number, self.where = ServerLog(served.log), 0, dict[str, str]()
        self.pids = served.workers()

    @property
    def keys(self) -> StateKeys:
        """What opens state."""
        return next(one for one in self.parts if isinstance(one, StateKeys))

    @property
    def headers(self) -> OtlpHeaders:
        """Who is sent telemetry."""
        return next(one for one in self.parts if isinstance(one, OtlpHeaders))

    def move(self, shift: int) -> None:
        """Have the value of now at another place, too; the first place that has it counts."""
        self.where = at(self.parts, shift)
        for part in self.parts:
            self.places.put(self.where[part.setting], part.setting, part.text(self.number))

    async def change(self) -> None:
        """The next value of each at its place, and nowhere else; whoever takes it knows both."""
        self.number += 1
        for part in self.parts:
            await part.takes_both(self.number)
            self.places.put(self.where[part.setting], part.setting, part.text(self.number))
            self.places.only(self.where[part.setting], part.setting)

    def hang_up(self) -> None:
        """Have all read at once."""
        os.kill(self.served.pid, signal.SIGHUP)

    async def taken(self) -> None:
        """Wait until each worker has each, calls go on by it, and then nobody outside takes the old."""
        times = WORKERS * self.number
        await self.until_logged(lambda: all(self.log.taken.get(one.setting, 0) >= times for one in self.parts))
        await self.calls()
        for part in self.parts:
            await part.takes_only(self.number)
        await self.calls()
        await self.keys.keep(self.load, self.number)

    async def rotate(self, shift: int, *, asked: bool = True, amid: Mapping[str, Fault] | None = None) -> Rotated:
        """All of it. Unless it is asked for, the server's own interval finds it; `amid` are faults of a reading before."""
        began, calls = time.monotonic(), self.load.done
        self.move(shift)
        await self.change()
        problems = [] if amid is None else await self.problems(amid)
        if asked:
            self.hang_up()
        await self.taken()
        refused = {}
        for part in self.parts:
            over = self.number - 1 - isinstance(part, StateKeys)  # a state key opens for one rotation more
            refused[part.setting] = over < 0 or await part.refuses(self.load, over)
        took_s = time.monotonic() - began
        calls = self.load.done - calls
        return Rotated(where=self.where, refused=refused, problems=problems, calls=calls, took_s=took_s)

    async def problems(self, faults: Mapping[str, Fault]) -> list[str]:
        """The lines of one reading with these faults, while calls go on by what the server has."""
        self.log.look()
        told, taken = len(self.log.problems), dict(self.log.taken)
        self.places.fault(faults)
        self.hang_up()
        await self.until_logged(lambda: len(self.log.problems) > told)
        await self.calls()
        self.places.fault({})
        self.log.look()
        assert self.log.taken == taken
        return self.log.problems[-1]

    async def calls(self) -> None:
        """Wait until so many more have gone well, or one has not."""
        before = self.load.done
        await until(lambda: _is(self.load.done > before + CALLS or bool(self.load.failed)))

    async def until_logged(self, so: Callable[[], bool]) -> None:
        """Wait until the log has told it."""

        async def looked() -> bool:
            self.log.look()
            return so() or bool(self.load.failed)

        await until(looked)

    async def readable(self) -> list[str]:
        """Whatever somebody may read: log, audit, telemetry, environment and command line of each process and a child."""
        children = [await self.load.text("child") for _ in range(8)]
        assert {one["worker"] for one in children} <= {str(pid) for pid in self.pids}
        texts = [self.headers.sent, *(one["told"] for one in children)]
        texts += [self.served.log.read_text(), (self.served.log.parent / "audit.jsonl").read_text()]
        for pid in (self.served.pid, *self.pids):
            texts += [_of_process(pid, name) for name in ("environ", "cmdline")]
        return texts


def at(parts: Sequence[Part], shift: int) -> dict[str, str]:
    """A place for each: with as many shifts as there are places each secret has been in each of them."""
    return {part.setting: PLACES[(number + shift) % len(PLACES)] for number, part in enumerate(parts)}


@contextlib.asynccontextmanager
async def rotating(folder: Path, refresh_s: float = 300) -> AsyncIterator[Rotation]:
    """A server that has its secrets from the places, and calls that go on."""
    client, keys, upstream = ClientSecret(), StateKeys(), UpstreamSecrets()
    async with contextlib.AsyncExitStack() as stack:
        redis = await stack.enter_async_context(operated(await stack.enter_async_context(running_redis(folder))))
        places, environment = stack.enter_context(running_places(folder))
        told = await stack.enter_async_context(api(upstream.serve))
        (folder / "mcp.toml").write_text(
            f'[apis.api]\nbase_url = "{told.scheme}://127.0.0.1:{told.port}"\n[apis.api.identity]\nmode = "secret"\n'
            'secret = "key"\nheader = "X-Api-Key"\n'
        )
        headers = OtlpHeaders(stack.enter_context(collecting()))
        parts: Sequence[Part] = (client, redis, keys, upstream, headers)
        for part in parts:
            places.put(PLACES[-1], part.setting, part.text(0))
        served = await stack.enter_async_context(
            running_server(
                folder,
                "tests.kit.rotation.server:server",
                workers=WORKERS,
                beside=environment | headers.environment,
                page_size="1",
                config=str(folder / "mcp.toml"),
                ca_file=str(places.certificate),
                secrets_dir=str(places.mounted),
                secrets=places.words,
                log_level="DEBUG",
                max_calls_per_second_per_principal="100000",
                secrets_refresh_s=str(refresh_s),
            )
        )
        client.begun(served)
        await client.takes_only(0)
        load = Load(served, await served.token("alice", "mcp:read"))
        rotation = Rotation(served, load, places, parts)
        await keys.keep(load, 0)
        async with load.going_on(part.call for part in parts):
            yield rotation
            assert served.workers() == rotation.pids
        await redis.cut()
        for part in parts:
            await part.call(load)


def _of_process(pid: int, name: str) -> str:
    return Path(f"/proc/{pid}/{name}").read_text()


async def _is(so: bool) -> bool:
    return so
