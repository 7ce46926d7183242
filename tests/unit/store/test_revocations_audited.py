"""What a command could not write into the workers' audit one of them writes, however many there are and when."""

import asyncio
import time
from pathlib import Path

import pytest

from mcp_server.engine import records
from mcp_server.store import revocations as revocations_module
from mcp_server.store.backend import StateBackend
from mcp_server.store.events import EventBus
from mcp_server.store.folder import FolderLedger
from mcp_server.store.memory import InMemoryBackend
from mcp_server.store.revocations import EVER, Kind, Revocation, RevocationLedger, Revocations, StoreLedger
from tests.kit.backends import Linked, Workers, settle, until


def revocation(name: str = "alice", kind: Kind = "sub", *, unaudited: bool = True) -> Revocation:
    until_s = time.time() + 60
    return Revocation(
        issuer="https://issuer", kind=kind, name=name, before=EVER, until=until_s, why="me: a test", unaudited=unaudited
    )


class Audited:
    """A worker's list, and what it wrote down."""

    def __init__(self, backend: StateBackend, ledger: RevocationLedger) -> None:
        self.lines: list[str] = []
        self.list = Revocations(EventBus(backend), ledgers=[ledger], look_s=0.01)
        self.list.write_down = lambda one: self.lines.append(one.name)

    async def start(self) -> "Audited":
        await self.list.bus.backend.start(self.list.bus.receive)
        await self.list.start()
        return self


def pair(shared: str, folder: Path) -> list[Audited]:
    workers = Workers()
    stores: list[StateBackend] = [workers.join() if shared == "store" else InMemoryBackend() for _ in range(3)]
    return [Audited(one, StoreLedger(one) if shared == "store" else FolderLedger(folder)) for one in stores]


@pytest.mark.parametrize("shared", ["store", "folder"])
async def test_one_of_all_workers_writes_it_down_once(shared: str, tmp_path: Path) -> None:
    here, there, later = pair(shared, tmp_path)
    workers = [await here.start(), await there.start()]
    for one in (revocation("alice"), revocation("bob"), revocation("logged out", unaudited=False)):
        await here.list.revoke(one)

    async def all_know() -> bool:
        return all(len(one.list.known) == 3 for one in workers) and sum(len(one.lines) for one in workers) >= 2

    await until(all_know)
    workers.append(await later.start())  # it reads what is kept
    await until(all_know)
    assert sorted(line for one in workers for line in one.lines) == ["alice", "bob"]
    for worker in workers:
        await worker.list.stop()


async def test_where_nobody_can_say_who_was_first_it_is_written_down() -> None:
    backend = Workers().join()
    worker = Audited(backend, StoreLedger(backend))
    assert isinstance(backend, Linked)
    backend.away = True
    worker.list.take(revocation())

    async def written() -> bool:
        return bool(worker.lines)

    await until(written)


class Slow(FolderLedger):
    """A folder in which the claim takes its time."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.asked, self.goes_on = asyncio.Event(), asyncio.Event()

    async def first(self, one: Revocation) -> bool:
        first = await super().first(one)
        self.asked.set()
        await self.goes_on.wait()
        return first


@pytest.mark.parametrize("in_time", [True, False])
async def test_a_worker_that_ends_writes_down_what_it_has_claimed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, in_time: bool
) -> None:
    monkeypatch.setattr(revocations_module, "NOTED_S", 30 if in_time else 0.001)
    ledger = Slow(tmp_path)
    ending, other = Audited(InMemoryBackend(), ledger), Audited(InMemoryBackend(), FolderLedger(tmp_path))
    ending.list.take(one := revocation())
    await ledger.asked.wait()
    stopping = asyncio.create_task(ending.list.stop())
    if in_time:
        await asyncio.sleep(0)
        ledger.goes_on.set()
    await stopping
    monkeypatch.setattr(revocations_module, "NOTED_S", 30)
    other.list.take(one)
    await other.list.stop()
    assert (ending.lines, other.lines) == (["alice"], [])


async def test_a_worker_that_ends_tells_what_it_has_learned() -> None:
    """That an issuer ended a login as its token was traded: nobody else was told of it."""
    workers, answered = Workers(), asyncio.Event()

    class SlowStore(Linked):
        async def remember(self, name: str, value: bytes, until: float, limit: int) -> None:
            await answered.wait()
            await super().remember(name, value, until, limit)

    store = SlowStore(workers, "w0")
    here = Audited(store, StoreLedger(store))
    await here.start()
    here.list.revoke_soon(revocation(unaudited=False))
    await settle()
    stopping = asyncio.create_task(here.list.stop())
    await settle()
    answered.set()
    await stopping
    later = workers.join()
    assert len(await StoreLedger(later).read()) == 1


def test_the_line_says_what_was_revoked_and_of_a_login_its_digest() -> None:
    line = records.revoked(revocation())
    assert (line.method, line.reason, line.subject, line.arguments) == ("revoke", "revoked", "alice", {"sub": "alice"})
    assert records.revoked(revocation("portal", "client")).client == "portal"
    assert records.revoked(revocation("s", "sid")).arguments == {"sid": "043a718774c572bd"}
