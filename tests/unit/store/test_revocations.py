"""The revocation list: what it refuses, how it is bounded, and how workers come to know the same."""

import asyncio
from pathlib import Path
from typing import Any, TextIO

import msgspec
import pytest

from mcp_server.identity import Principal, marks_of
from mcp_server.store import revocations
from mcp_server.store.backend import StoreUnavailable
from mcp_server.store.events import EventBus, Revoked
from mcp_server.store.folder import FILE, FolderLedger
from mcp_server.store.memory import InMemoryBackend
from mcp_server.store.revocations import EVER, Ledger, Revocation, RevocationList, Revocations, StoreLedger
from tests.kit.backends import Clock, Linked, Workers, settle, until
from tests.kit.logs import written_since
from tests.kit.principals import principal

ALICE = msgspec.structs.replace(principal(), sid="s", jti="j", issued_at=100.0)


def revocation(kind: Any = "sid", name: str = "s", **changed: Any) -> Revocation:
    usual: dict[str, Any] = {"issuer": ALICE.issuer, "before": 100.0, "until": EVER, "why": "a test"}
    return Revocation(kind=kind, name=name, **(usual | changed))


NAMES = {"sid": "s", "sub": "user", "client": "client", "jti": "j", "token": "d" * 16, "issuer": ALICE.issuer}


@pytest.mark.parametrize("kind", NAMES)
def test_a_token_is_over_by_each_of_its_names_up_to_a_time_and_of_one_issuer(kind: str) -> None:
    known = RevocationList()
    assert not known.over(ALICE)
    assert known.add(revocation(kind, NAMES[kind]))
    assert known.over(ALICE)
    assert known.over(marks_of(ALICE))
    later, foreign = ({"issued_at": 100.5}, {"issuer": "https://other"})
    for changed in (later, foreign):
        assert not known.over(msgspec.structs.replace(ALICE, **changed))
    if kind != "issuer":
        other = {"sid": "sid", "sub": "subject", "client": "client_id", "jti": "jti", "token": "token_digest"}[kind]
        assert not known.over(msgspec.structs.replace(ALICE, **{other: "another"}))


def test_a_list_that_says_the_same_again_says_nothing_new_and_the_widest_counts() -> None:
    known = RevocationList()
    assert [known.add(revocation(before=before)) for before in (100, 100, 99, 101)] == [True, False, False, True]
    assert known.add(revocation(before=50, until=EVER + 2))
    assert known.over(msgspec.structs.replace(ALICE, issued_at=101.0))
    assert len(known) == 1


def test_what_no_token_outlives_is_forgotten() -> None:
    clock = Clock()
    known = RevocationList(clock)
    assert known.add(revocation(until=10))
    assert known.over(ALICE)
    clock.now = 10
    assert not known.over(ALICE)
    assert not known.add(revocation(until=10))


def test_a_list_is_bounded_and_what_is_over_makes_room_first() -> None:
    clock = Clock()
    known = RevocationList(clock, max_entries=2)
    for name, end in (("short", 5), ("long", 50), ("s", 50)):
        clock.now = 6 if name == "s" else 0
        known.add(revocation(name=name, until=end))
    assert (len(known), known.over(ALICE)) == (2, True)
    known.add(revocation(name="more", until=50))
    known.add(revocation(name="even more", until=50))
    assert (len(known), known.over(ALICE)) == (2, False)


class Worker:
    """One worker's list, and what it was told to end."""

    def __init__(self, backend: InMemoryBackend, *ledgers: Ledger, look_s: float = 0) -> None:
        self.ended: list[str] = []
        self.backend = backend
        self.list = Revocations(EventBus(backend), 100, ledgers, look_s=look_s)
        self.list.followers["test"] = self._follow

    def _follow(self, one: Revocation) -> int:
        self.ended.append(one.name)
        return 1

    async def start(self) -> "Worker":
        await self.backend.start(self.list.bus.receive)
        await self.list.start()
        return self

    def over(self, who: Principal = ALICE) -> bool:
        return self.list.known.over(who)


def sharing(workers: Workers) -> tuple[Worker, Linked]:
    backend = workers.join()
    return Worker(backend, StoreLedger(backend)), backend


async def test_all_workers_know_once_the_revocation_is_made_and_each_ends_its_own_once() -> None:
    workers = Workers()
    (one, _), (other, _) = sharing(workers), sharing(workers)
    await one.start()
    await other.start()
    await one.list.revoke(revocation())
    assert (one.over(), other.over()) == (True, True)
    assert (one.ended, other.ended) == (["s"], ["s"])
    new, _ = sharing(workers)
    await new.start()
    assert (new.over(), new.ended) == (True, ["s"])
    for worker in (one, other, new):
        await worker.list.stop()


async def test_after_a_gap_the_list_is_read_anew() -> None:
    workers = Workers()
    (one, _), (other, deaf) = sharing(workers), sharing(workers)
    await one.start()
    await other.start()
    deaf.deaf = True
    await one.list.revoke(revocation())
    assert not other.over()
    deaf.hears_again()
    await settle()
    assert other.over()
    for worker in (one, other):
        await worker.list.stop()


async def test_a_store_that_is_away_is_told_later_and_this_worker_knows_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(revocations, "AGAIN_S", 0)
    monkeypatch.setattr(revocations, "MAX_UNKEPT", 2)
    workers = Workers()
    (one, away), (other, _) = sharing(workers), sharing(workers)
    await one.start()
    await other.start()
    away.away = True
    for name in ("too many", "s", "later"):
        with pytest.raises(StoreUnavailable):
            await one.list.revoke(revocation(name=name))
    assert (one.over(), other.over()) == (True, False)
    one.list.revoke_soon(revocation(name="soon"))
    await settle()
    away.away = False

    async def told() -> bool:
        return set(other.ended) == {"later", "soon"}

    await until(told)
    for worker in (one, other):
        await worker.list.stop()


async def test_a_follower_that_fails_keeps_no_other_from_ending_its_own(log_file: TextIO) -> None:
    worker = Worker(InMemoryBackend())

    def fails(_: Revocation) -> int:
        raise RuntimeError

    worker.list.followers = {"fails": fails, **worker.list.followers}
    before = log_file.tell()
    await worker.list.revoke(revocation())
    assert (worker.ended, worker.over()) == (["s"], True)
    written = written_since(log_file, before)
    assert "what a revoked token began was not ended" in written
    assert '"event":"tokens are revoked"' in written


async def test_what_another_version_says_is_left_out() -> None:
    workers = Workers()
    worker, backend = sharing(workers)
    await backend.remember("revoked", b'{"kind":"odd"}', EVER, 10)
    await worker.start()
    worker.list.bus.deliver(Revoked(msgspec.Raw(b"{}")))
    assert len(worker.list.known) == 0
    await worker.list.stop()


def names(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


async def test_workers_of_one_machine_share_a_folder_where_there_is_no_store(tmp_path: Path) -> None:
    one, other = (Worker(InMemoryBackend(), FolderLedger(tmp_path)) for _ in range(2))
    await one.start()
    await other.start()
    await one.list.revoke(revocation())
    await one.list.revoke(revocation(name="another"))

    async def told() -> bool:
        return other.ended == ["s", "another"]

    await until(told)
    assert other.over()
    new = await Worker(InMemoryBackend(), FolderLedger(tmp_path)).start()
    assert new.over()
    for worker in (one, other, new):
        await worker.list.stop()


async def test_a_folder_forgets_what_is_over_and_keeps_no_more_than_its_bound(tmp_path: Path) -> None:
    ledger = FolderLedger(tmp_path, max_entries=2)
    assert await ledger.read() == []
    for name, end in (("over", 1.0), ("a", EVER), ("b", EVER), ("c", EVER)):
        await ledger.keep(revocation(name=name, until=end))
    assert [one.name for one in await ledger.read()] == ["b", "c"]
    assert names(tmp_path) == [FILE, "revoked.lock"]


async def test_a_folder_that_is_gone_is_told_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    worker = await Worker(InMemoryBackend(), FolderLedger(folder), look_s=60).start()
    with pytest.raises(OSError, match="gone"):
        await worker.list.revoke(revocation())
    assert worker.over()
    folder.mkdir()
    (folder / FILE).mkdir()  # cannot be replaced by a file
    with pytest.raises(OSError, match=FILE):
        await FolderLedger(folder).keep(revocation())
    assert names(folder) == [FILE, "revoked.lock"]
    await worker.list.stop()


async def test_a_start_does_not_wait_for_a_store_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocations, "RECALL_S", 0.01)

    class Hangs(StoreLedger):
        async def read(self) -> list[Revocation]:
            await asyncio.Event().wait()
            raise AssertionError

    backend = InMemoryBackend()
    worker = await Worker(backend, Hangs(backend), look_s=60).start()
    assert not worker.over()
    await worker.list.stop()
