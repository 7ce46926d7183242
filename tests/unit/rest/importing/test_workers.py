"""Workers of one server that share what they serve: they begin alike, follow one leader, and listeners hear once."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import msgspec
import pytest

from mcp_server import McpServer
from mcp_server.cli.serving.folder import private_folder
from mcp_server.file_lock import FileLock
from mcp_server.rest.importing import shared
from mcp_server.rest.importing.live_apis import LiveApis
from mcp_server.rest.importing.shared import SharedDocuments
from mcp_server.rest.importing.watch import PATIENCE_S, RETRY_S, Watcher, Watching
from mcp_server.rest.model import UnusableDocument, WireAnswer, WireRequest
from mcp_server.rest.offer.plan import SEARCH_TOOLS
from tests.kit.imports import closed, get
from tests.unit.rest.importing.test_live_apis import PATHS, URL, written

NEW = {**PATHS, "/new": get("new_one")}


class Unasked:
    """A client of an API that nobody calls here: no certificates are loaded for it."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def send(self, request: WireRequest, *, deadline_s: float, max_bytes: int, headers: Any = ()) -> WireAnswer:
        raise AssertionError(request.url)

    async def retire(self) -> None:
        pass


class Worker:
    """One worker in this process: it has its own registry and its own locks, and takes a turn when it is told to."""

    def __init__(self, file: Path, folder: Path, reload_s: float = 0, **table: Any) -> None:
        self.server, self.told = McpServer("s"), list[str]()
        how = Watching(reload_s=reload_s, settle_s=0, poll_s=3600, documents=SharedDocuments(folder))
        self.imports: LiveApis = closed(self.server, file, URL, watching=how, client=lambda _: Unasked(), **table)
        self.watcher = Watcher(self.imports, how, 0)

    async def begins(self) -> None:
        await self.imports.start()
        self.server.watchers.append(lambda kind, uri: self.told.append(kind))

    async def turn(self, now: float = 0) -> None:
        await self.watcher.turn(now)

    @property
    def tools(self) -> set[str]:
        return set(self.server.tools)


@pytest.fixture
def folder() -> Any:
    with private_folder() as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        yield folder
    assert not folder.exists()


@asynccontextmanager
async def serving(file: Path, folder: Path, count: int = 2, **more: Any) -> AsyncIterator[list[Worker]]:
    """The process that starts workers reads first; then they begin."""
    first = Worker(file, folder, **more)
    await first.begins()
    await first.imports.stop()
    workers = [Worker(file, folder, **more) for _ in range(count)]
    for one in workers:
        await one.begins()
    try:
        yield workers
    finally:
        for one in workers:
            await one.imports.stop()


def versions(folder: Path) -> list[Path]:
    return [one for one in folder.iterdir() if len(one.name) == 32]


@pytest.mark.parametrize("broken", ["{", None, '{"openapi": "3.1.0", "paths": {}}'])
async def test_a_worker_begins_with_what_the_others_have(tmp_path: Path, folder: Path, broken: str | None) -> None:
    file = written(tmp_path)
    async with serving(file, folder) as (one, two):
        file.unlink() if broken is None else file.write_text(broken)
        await one.turn()
        await one.imports.stop()  # dies
        third = Worker(file, folder)
        await third.begins()
        try:
            assert third.tools == two.tools == {"list_orders", "get_order"}
            assert third.imports.request("get_order", {"id": "1"}).url == f"{URL}/orders/1"
            await two.turn()  # leads now, and was asked to look
            assert set(third.imports.problems) == set(two.imports.problems) == {"shop"}
            written(tmp_path)
            await two.turn(RETRY_S - 1)
            assert two.imports.problems
            await two.turn(RETRY_S + 1)  # none is read again otherwise, but what is broken is
            assert third.imports.problems == two.imports.problems == {}
        finally:
            await third.imports.stop()


async def test_a_first_start_with_a_broken_document_says_so(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "doc.json").write_text('{"openapi": "3.1.0"')
    worker = Worker(tmp_path / "doc.json", folder)
    with pytest.raises(UnusableDocument):
        await worker.begins()
    await worker.imports.stop()


async def test_all_take_what_the_leader_took_and_listeners_hear_once(tmp_path: Path, folder: Path) -> None:
    file = written(tmp_path)
    async with serving(file, folder, count=3, reload_s=60) as workers:
        for one in workers:
            await one.turn()
        written(tmp_path, NEW)
        await workers[0].turn(61)
        assert [one.tools for one in workers] == [{*workers[1].tools, "new_one"}, workers[1].tools, workers[1].tools]
        assert all(not one.told for one in workers)  # who lists now may meet a worker with the old list
        await workers[1].turn(62)
        await workers[0].turn(62)
        assert not workers[0].told
        await workers[2].turn(62)
        await workers[0].turn(63)
        assert [one.told for one in workers] == [["tools"], [], []]  # by the event bus, to every worker's listeners
        assert all("new_one" in one.tools for one in workers)
        await workers[0].turn(64)
        assert workers[0].told == ["tools"]


async def test_a_worker_that_hangs_is_not_waited_for_for_ever(tmp_path: Path, folder: Path) -> None:
    file = written(tmp_path)
    async with serving(file, folder, reload_s=60) as (leader, hanging):
        await leader.turn()
        written(tmp_path, NEW)
        await leader.turn(61)
        await leader.turn(61 + PATIENCE_S)
        assert not leader.told
        await leader.turn(62 + PATIENCE_S)
        assert leader.told == ["tools"]
        assert "new_one" not in hanging.tools


async def test_a_leader_that_ends_before_it_told_is_followed_by_one_that_tells(tmp_path: Path, folder: Path) -> None:
    file = written(tmp_path)
    async with serving(file, folder, reload_s=60) as (leader, other):
        await leader.turn()
        written(tmp_path, NEW)
        await leader.turn(61)
        await leader.imports.stop()
        assert leader.told == ["tools"]  # its own going, to nobody
        await other.turn(62)
        assert other.told == ["tools"]
        assert "new_one" in other.tools


async def test_one_looks_for_all(tmp_path: Path, folder: Path) -> None:
    file = written(tmp_path)
    async with serving(file, folder, reload_s=1) as (leader, other):
        await leader.turn()
        written(tmp_path, NEW)
        await other.turn(100)
        assert "new_one" not in other.tools
        await leader.turn(100)
        await other.turn(100)
        assert "new_one" in other.tools


MANY = {f"/n{n}": get(f"number_{n}") for n in range(101)}


async def test_what_a_worker_cannot_take_is_told_by_it_alone(tmp_path: Path, folder: Path) -> None:
    """A worker has a registry of its own, and there a handler has registered what the others have not."""
    file = written(tmp_path)
    async with serving(file, folder, reload_s=60) as (leader, other):
        await leader.turn()

        @other.server.tool
        async def call_tool() -> str:
            return "own"

        written(tmp_path, MANY)
        await leader.turn(61)
        assert {name for name, tool in leader.server.tools.items() if tool.listed} == SEARCH_TOOLS
        for now in (61, 62):
            await other.turn(now)
            assert other.tools == {"call_tool", "list_orders", "get_order"}
            assert "a tool of its own called call_tool" in other.imports.problems["shop"]
        assert leader.imports.problems == {}
        written(tmp_path)
        await leader.turn(130)
        await other.turn(130)
        assert other.imports.problems == {}


async def test_what_was_kept_and_is_damaged_is_read_anew(tmp_path: Path, folder: Path) -> None:
    file = written(tmp_path)
    async with serving(file, folder, count=1):
        (kept,) = versions(folder)
        kept.write_bytes(kept.read_bytes()[:-9])
        written(tmp_path, NEW)
        worker = Worker(file, folder)
        await worker.begins()
        assert "new_one" in worker.tools
        await worker.imports.stop()


async def test_what_is_kept_is_for_this_user_and_is_no_more_than_two_versions(tmp_path: Path, folder: Path) -> None:
    file = written(tmp_path)
    async with serving(file, folder, reload_s=1) as (leader, other):
        for n in range(4):
            written(tmp_path, {**PATHS, f"/n{n}": get(f"n{n}")})
            await leader.turn(10 * n + 9)
            await other.turn(10 * n + 9)
        assert "n3" in other.tools
        assert len(versions(folder)) == 2
        state = msgspec.json.decode((folder / "state").read_bytes())
        assert (state["generation"], state["told"]) == (5, 4)


def test_a_lock_is_not_held_by_what_a_handler_forked(tmp_path: Path) -> None:
    """A pool of processes outlives the worker that crashed: nobody could lead any more."""
    lock, other = FileLock(tmp_path / "leader"), FileLock(tmp_path / "leader")
    assert lock.take()
    assert not other.take()
    ready, awaited = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(awaited, b"1")
            signal.pause()
        finally:
            os._exit(0)
    try:
        os.read(ready, 1)
        lock.drop()
        assert other.take()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        for file in (ready, awaited):
            os.close(file)
        other.drop()


async def test_what_goes_wrong_in_a_turn_is_told_until_one_goes_well(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path)
    async with serving(file, folder, count=1, reload_s=1) as (one,):
        whole = (folder / "state").read_bytes()
        monkeypatch.setattr(shared, "snapshot", None)
        written(tmp_path, NEW)
        await one.turn(2)
        assert one.imports.problems == {"": "AttributeError"}
        monkeypatch.undo()
        await one.turn(4)
        assert one.imports.problems == {}
        (folder / "state").write_bytes(whole[:9])  # what cannot be read is what it was
        await one.turn(4)
        assert "new_one" in one.tools
