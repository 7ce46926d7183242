"""Keys that are kept beyond the process: a start without the issuer believes ours, and nothing else that lies there."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mcp_server.auth.authenticator import Authenticator
from mcp_server.auth.issuer.discovery import IssuerMetadata
from mcp_server.auth.issuer.issuer import Issuer
from mcp_server.auth.issuer.snapshot import MAX_DOCUMENT, BackendSnapshotStore, FolderSnapshotStore, Snapshot, Snapshots
from mcp_server.auth.policy import KeyPolicy
from mcp_server.auth.refusals import AccessDeniedError
from mcp_server.store.backend import StoreUnavailable
from mcp_server.store.memory import InMemoryBackend
from tests.kit.issuers import ISSUER, KEYS, METADATA, Paper, policy

SECRETS = (b"k" * 32,)
META = IssuerMetadata(issuer=ISSUER, jwks_uri=ISSUER + KEYS)
NOW = 1_000_000.0


class Broken:
    """A place that is away."""

    async def load(self, _: str) -> bytes | None:
        raise StoreUnavailable("away")

    async def save(self, *_: Any) -> None:
        raise OSError("disk full")


class Hanging(Broken):
    """A place that does not answer."""

    async def load(self, _: str) -> bytes | None:
        await asyncio.Event().wait()
        return None


class Clocks:
    """A wall clock that can be set."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def files(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def snapshot(read_at: float = NOW, document: Any = None) -> Snapshot:
    return Snapshot(META, msgspec.Raw(msgspec.json.encode(document or {"keys": []})), read_at)


async def kept(paper: Paper, folder: Path, clock: Clocks, **changed: Any) -> None:
    """An issuer that was reached once, by a worker that is gone."""
    one = ThreadPoolExecutor(1)  # it writes in turn: what is waited for is then the last to be written
    asyncio.get_running_loop().set_default_executor(one)
    async with paper.fetcher() as fetcher:
        snapshots = Snapshots(SECRETS, [FolderSnapshotStore(folder)], clock)
        issuer = Issuer(
            policy(**changed), KeyPolicy(), fetcher, lambda *_: None, clock=clock, monotonic=clock, snapshots=snapshots
        )
        for _ in range(2):  # the second one takes the first one's place, though that may still be written
            assert await issuer.refresh()
        assert issuer._keeping is not None
        await issuer._keeping
        await issuer.stop()


async def recalled(paper: Paper, folder: Path, clock: Clocks, secrets: tuple[bytes, ...] = SECRETS) -> Issuer:
    """The next worker's, which has never reached it."""
    snapshots = Snapshots(secrets, [FolderSnapshotStore(folder)], clock)
    issuer = Issuer(
        policy(),
        KeyPolicy(stale_s=100),
        paper.fetcher(),
        lambda *_: None,
        clock=clock,
        monotonic=clock,
        snapshots=snapshots,
    )
    await issuer.recall()
    return issuer


async def test_a_worker_starts_with_the_keys_of_the_one_before(tmp_path: Path) -> None:
    paper, clock = Paper(), Clocks()
    await kept(paper, tmp_path / "keys", clock)
    clock.now += 60
    issuer = await recalled(paper, tmp_path / "keys", clock)
    assert issuer.state == "degraded"
    assert issuer.keys_until == NOW + 100
    assert issuer.metadata is not None
    assert (await issuer.key("k", "ES256", NOW)).thumbprint == paper.key.thumbprint()
    [file] = files(tmp_path / "keys")
    assert file.stat().st_mode & 0o777 == 0o600
    await issuer.recall()  # it knows keys already


@pytest.mark.parametrize("later_s", [100, 90_000, -1])
async def test_keys_that_are_too_old_or_from_the_future_are_not_believed(tmp_path: Path, later_s: float) -> None:
    paper, clock = Paper(), Clocks()
    await kept(paper, tmp_path, clock)
    clock.now += later_s
    issuer = await recalled(paper, tmp_path, clock)
    assert issuer.state == "down"


async def test_what_others_have_put_there_is_not_believed(tmp_path: Path) -> None:
    paper, clock = Paper(), Clocks()
    await kept(paper, tmp_path, clock)
    assert (await recalled(paper, tmp_path, clock, (b"x" * 32,))).state == "down"
    [file] = files(tmp_path)
    good = file.read_bytes()
    for bad in (good[:-8] + b"AAAAAAAA", good + b"A" * 400_000, b"", b"\xff\x00", b'{"keys": []}'):
        file.write_bytes(bad)
        assert (await recalled(paper, tmp_path, clock)).state == "down"
    file.write_bytes(good)
    assert (await recalled(paper, tmp_path, clock)).state == "degraded"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
@pytest.mark.parametrize("written", [False, True])
async def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(tmp_path: Path, written: bool) -> None:
    pipe = tmp_path / "keys"
    os.mkfifo(pipe)
    writer = os.open(pipe, os.O_RDWR | os.O_NONBLOCK) if written else None
    try:
        with pytest.raises(OSError, match="no file"):
            await asyncio.wait_for(FolderSnapshotStore(tmp_path).load(pipe.name), 60)
    finally:  # a thread that waits in spite of it ends with the last writer
        os.close(os.open(pipe, os.O_RDWR | os.O_NONBLOCK) if writer is None else writer)


async def test_the_keys_of_one_issuer_are_not_another_s(tmp_path: Path) -> None:
    paper, clock = Paper(), Clocks()
    await kept(paper, tmp_path, clock)
    [file] = files(tmp_path)
    content = file.read_bytes()
    elsewhere = policy(fetch_url="https://inner.example/realms/mcp")
    snapshots = Snapshots(SECRETS, [FolderSnapshotStore(tmp_path)], clock)
    assert await snapshots.newest(elsewhere) is None
    await snapshots.keep(elsewhere, snapshot(), 100)
    [other] = [one for one in files(tmp_path) if one != file]
    other.write_bytes(content)
    assert await snapshots.newest(elsewhere) is None


async def test_a_set_without_a_usable_key_is_no_start(tmp_path: Path) -> None:
    clock = Clocks()
    await Snapshots(SECRETS, [FolderSnapshotStore(tmp_path)], clock).keep(policy(), snapshot(), 100)
    assert (await recalled(Paper(), tmp_path, clock)).state == "down"


async def test_the_newest_of_all_places_counts_and_one_that_is_away_ends_nothing(tmp_path: Path) -> None:
    clock, store = Clocks(), BackendSnapshotStore(InMemoryBackend())
    folder = FolderSnapshotStore(tmp_path / "keys")
    await Snapshots(SECRETS, [folder], clock).keep(policy(), snapshot(NOW - 50), 100)
    await Snapshots(SECRETS, [store], clock).keep(policy(), snapshot(NOW - 5), 100)
    everywhere = Snapshots(SECRETS, [Broken(), folder, store], clock)
    found = await everywhere.newest(policy())
    assert found is not None
    assert found.read_at == NOW - 5
    await everywhere.keep(policy(), snapshot(NOW), 100)
    assert [(await Snapshots(SECRETS, [one], clock).newest(policy())) for one in (folder, store)] == [snapshot()] * 2


async def test_a_file_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    snapshots, clock = Snapshots(SECRETS, [FolderSnapshotStore(tmp_path)], Clocks()), Clocks()
    await snapshots.keep(policy(), snapshot(), 100)
    [file] = files(tmp_path)
    file.unlink()
    file.mkdir()
    (file / "inside").touch()
    await snapshots.keep(policy(), snapshot(), 100)
    assert files(tmp_path) == [file]
    assert (await recalled(Paper(), tmp_path, clock)).state == "down"


async def test_a_set_of_any_size_is_not_kept(tmp_path: Path) -> None:
    large = snapshot(document={"keys": ["k" * MAX_DOCUMENT]})
    await Snapshots(SECRETS, [FolderSnapshotStore(tmp_path)], Clocks()).keep(policy(), large, 100)
    assert files(tmp_path) == []


async def test_a_server_begins_with_what_was_kept_and_waits_for_no_place_that_hangs(tmp_path: Path) -> None:
    paper, clock = Paper(), Clocks()
    await kept(paper, tmp_path, clock)
    paper.documents[METADATA] = OSError("away")
    for places, state, recall_s in (([FolderSnapshotStore(tmp_path)], "degraded", 60), ([Hanging()], "down", 0.01)):
        policies = KeyPolicy(recall_s=recall_s)
        config = msgspec.structs.replace(paper.config(), state_keys=SECRETS, keys=policies)
        made = Authenticator(config, fetcher=paper.fetcher(), clock=clock, monotonic=clock, places=places)
        await made.start()
        [issuer] = made.issuers.values()
        assert issuer.state == state
        if state == "down":
            with pytest.raises(AccessDeniedError):
                await issuer.key("k", "ES256", NOW)
        await made.stop()


class Slow(Broken):
    """A place that takes its time to write."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.begun = asyncio.Event()

    async def save(self, *_: Any) -> None:
        self.told.append("begun")
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.told.append("ended")


async def test_keys_that_are_still_being_written_are_no_longer_once_there_are_newer_ones() -> None:
    """Else a place that hangs has one more write under way with every refresh, and the oldest may be the last to end."""
    slow, clock = Slow(), Clocks()
    async with Paper().fetcher() as fetcher:
        snapshots = Snapshots(SECRETS, [slow], clock)
        issuer = Issuer(
            policy(), KeyPolicy(), fetcher, lambda *_: None, clock=clock, monotonic=clock, snapshots=snapshots
        )
        async with asyncio.timeout(60):
            assert await issuer.refresh()
            await slow.begun.wait()
            slow.begun.clear()
            assert await issuer.refresh()
            await slow.begun.wait()
        assert sorted(slow.told) == ["begun", "begun", "ended"]
        await issuer.stop()
        assert slow.told.count("ended") == 2
