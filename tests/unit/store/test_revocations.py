"""The revocation list: what it refuses, how it is bounded, and how workers come to know the same."""

import asyncio
from pathlib import Path
from typing import Any, TextIO

import msgspec
import pytest

from mcp_server.file_lock import FileLock
from mcp_server.identity import Principal, marks_of
from mcp_server.store import folder as folder_module
from mcp_server.store import revocations
from mcp_server.store.backend import StoreUnavailable
from mcp_server.store.events import EventBus, EventsMissed, TokensRevoked
from mcp_server.store.folder import FILE, FolderLedger
from mcp_server.store.memory import InMemoryBackend
from mcp_server.store.revocations import EVER, Revocation, RevocationLedger, RevocationList, Revocations, StoreLedger
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


def test_what_anybody_can_make_many_of_pushes_out_nothing_that_an_operator_said() -> None:
    known = RevocationList(max_entries=2)
    known.add(revocation(operator=True))
    known.add(revocation(before=99, until=EVER + 2))  # a logout of the same does not take that away
    known.add(revocation("issuer", "https://other", issuer="https://other"))
    for number in range(9):
        assert known.add(revocation(name=f"logout {number}"))
    assert (len(known), known.over(ALICE)) == (2, True)
    assert known.add(revocation("client", "later"))
    assert (len(known), known.over(ALICE)) == (2, False)


class Worker:
    """One worker's list, and what it was told to end."""

    def __init__(self, backend: InMemoryBackend, *ledgers: RevocationLedger, look_s: float = 0) -> None:
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


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that failed is tried again at once."""
    monkeypatch.setattr(revocations, "AGAIN_S", (0.0, 0.0))


async def became_over(worker: Worker) -> None:
    async def over() -> bool:
        return worker.over()

    await until(over)
    await worker.list.stop()


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("when", ["start", "gap"])
async def test_a_reading_that_failed_is_repeated_until_it_succeeds(when: str) -> None:
    """A Redis that loads its data lets in who subscribes, and refuses to be read."""
    workers = Workers()
    (one, backend), (other, _) = sharing(workers), sharing(workers)
    backend.away = when == "start"
    await one.start()
    await settle()
    backend.away = backend.deaf = True
    await other.list.revoke(revocation())
    backend.hears_again()
    await settle()
    assert not one.over()
    backend.away = False
    await became_over(one)


class Slow(StoreLedger):
    """Hangs at its first reading, until that is given up; a gap falls into the second, which has nothing yet."""

    bus: EventBus
    read_times = 0

    async def read(self, *, anew: bool = True) -> list[Revocation]:
        assert anew
        self.read_times += 1
        if self.read_times == 1:
            await asyncio.Event().wait()
        if self.read_times == 2:
            self.bus.deliver(EventsMissed())
            return []
        return await super().read(anew=anew)


async def test_a_first_reading_that_is_given_up_and_a_gap_within_one_are_made_up_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(revocations, "RECALL_S", 0)
    backend = InMemoryBackend()
    ledger = Slow(backend)
    worker = Worker(backend, ledger, look_s=60)
    ledger.bus = worker.list.bus
    await ledger.keep(revocation())
    await worker.start()
    assert not worker.over()
    await became_over(worker)
    assert ledger.read_times == 3


async def test_many_that_are_kept_are_read_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocations, "TURN", 2)
    workers = Workers()
    worker, backend = sharing(workers)
    for number in range(5):
        await StoreLedger(backend).keep(revocation(name=str(number), operator=number == 4))
    await worker.start()
    assert sorted(worker.ended) == ["0", "1", "2", "3", "4"]
    await worker.list.stop()


async def test_a_store_keeps_what_an_operator_said_however_many_logouts_follow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(revocations, "MAX_ENTRIES", 2)
    ledger = StoreLedger(InMemoryBackend())
    await ledger.keep(revocation(until=EVER - 1, operator=True))
    for number in range(3):
        await ledger.keep(revocation(name=str(number)))
    assert {one.name for one in await ledger.read()} == {"s", "1", "2"}


async def test_a_store_that_is_away_is_told_later_and_this_worker_knows_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(revocations, "AGAIN_S", (0.0,))
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
    worker.list.bus.deliver(TokensRevoked(msgspec.Raw(b"{}")))
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
    ledger, other = FolderLedger(tmp_path, max_entries=2, compact=1), FolderLedger(tmp_path)
    assert await ledger.read() == []
    for name, end in (("over", 1.0), ("a", EVER)):
        await ledger.keep(revocation(name=name, until=end, operator=name == "a"))
    assert [one.name for one in await other.read()] == ["a"]
    for name in "bcdefg":
        await ledger.keep(revocation(name=name))
        assert len(await ledger.read()) <= 5  # it has doubled at most, and each line is about as long
    found = [one.name for one in await other.read(anew=False)]  # another file: the whole of it
    assert ("a" in found, "g" in found, len(found) <= 5) == (True, True, True)
    assert names(tmp_path) == [FILE, "revoked.lock"]


async def test_a_folder_that_cannot_be_written_anew_loses_nothing_and_is_left_no_half_of_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ledger = FolderLedger(tmp_path, compact=1)

    def full(*_: object) -> Path:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(Path, "replace", full)
        with pytest.raises(OSError, match="No space"):
            await ledger.keep(revocation())
    await ledger.keep(revocation(name="a"))
    assert [one.name for one in await ledger.read()] == ["s", "a"]
    assert names(tmp_path) == [FILE, "revoked.lock"]


async def test_of_a_folder_only_what_is_new_is_read_and_only_whole_lines_of_it(tmp_path: Path) -> None:
    ledger, file = FolderLedger(tmp_path), tmp_path / FILE
    seen = []
    for name in "ab":
        await ledger.keep(revocation(name=name))
        assert ledger.changed()
        seen.append([one.name for one in await ledger.read(anew=False)])
        assert not ledger.changed()
    assert seen == [["a"], ["b"]]
    with file.open("ab") as torn:  # a disk that was full
        torn.write(b'{"issuer":"')
    assert await ledger.read(anew=False) == []
    await ledger.keep(revocation(name="c"))
    assert [one.name for one in await ledger.read(anew=False)] == ["c"]
    assert [one.name for one in await ledger.read()] == ["a", "b", "c"]
    file.write_bytes(b"")  # shorter than what was read
    assert await ledger.read(anew=False) == []


async def test_a_lock_that_another_process_holds_is_waited_for_no_longer_than_a_bound(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As by a worker that is stopped: the logouts of all others would wait without end."""
    monkeypatch.setattr(folder_module, "LOCK_S", 0.01)
    worker = Worker(InMemoryBackend(), FolderLedger(tmp_path), look_s=60)
    held = FileLock(tmp_path / "revoked.lock")
    assert held.take()
    told = await asyncio.gather(*(worker.list.revoke(revocation(name=name)) for name in "sab"), return_exceptions=True)
    assert [isinstance(one, OSError) and "another process holds it" in str(one) for one in told] == [True] * 3
    assert worker.over()
    assert await FolderLedger(tmp_path).read() == []
    held.drop()
    monkeypatch.setattr(folder_module, "LOCK_S", 20)
    await worker.start()  # what could not be kept is tried again
    assert {one.name for one in await FolderLedger(tmp_path).read()} == {"s", "a", "b"}
    await worker.list.stop()


async def test_a_folder_that_is_gone_is_told_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    worker = await Worker(InMemoryBackend(), FolderLedger(folder), look_s=60).start()
    with pytest.raises(OSError, match="gone"):
        await worker.list.revoke(revocation())
    assert worker.over()
    folder.mkdir()
    (folder / FILE).mkdir()
    with pytest.raises(OSError, match=FILE):
        await FolderLedger(folder).keep(revocation())
    assert names(folder) == [FILE, "revoked.lock"]
    await worker.list.stop()


async def test_a_start_does_not_wait_for_a_store_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocations, "RECALL_S", 0.01)

    class Hangs(StoreLedger):
        async def read(self, *, anew: bool = True) -> list[Revocation]:
            await asyncio.Event().wait()
            raise AssertionError

    worker = await Worker(backend := InMemoryBackend(), Hangs(backend), look_s=60).start()
    assert not worker.over()
    await worker.list.stop()
