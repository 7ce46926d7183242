"""The parent of the workers, with workers that a test lets begin, crash and stay: nothing is waited for alone."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from granian.constants import Interfaces

from mcp_server.cli.serving import graceful
from mcp_server.cli.serving.workers import (
    BEGIN_S,
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    STEADY_S,
    Workers,
    WorkerTimes,
)
from tests.kit.stack import free_port


class Fake:
    """A worker: `runs` until the test says otherwise, or it is told to end and `obeys`."""

    numbers = iter(range(10**6, 10**7))  # no process has such a number

    def __init__(self, folder: Path, birth: float, obeys: bool) -> None:
        self.birth, self.obeys, self.runs, self.told = birth, obeys, True, 0
        self.inner = SimpleNamespace(pid=next(self.numbers), is_alive=lambda: self.runs)
        self.beats = folder / str(self.inner.pid)

    def begins(self) -> None:
        self.beats.touch()

    def terminate(self) -> None:
        self.told += 1
        self.runs = self.runs and not self.obeys


class Parent:
    """A parent, its clock, and every worker that it ever began."""

    def __init__(self, folder: Path, *times: WorkerTimes | None, count: int = 1, obeys: bool = True) -> None:
        said: Iterator[WorkerTimes | None] = iter(times or (WorkerTimes(kill_s=10),))
        first = next(said)
        assert first is not None

        def renew(_: float, asked: bool) -> WorkerTimes | None:
            return next(said) if asked else None

        self.all: list[Fake] = []
        self.now, self.folder, self.obeys = 100.0, folder, obeys
        self.made = Workers(
            "x", port=free_port(), workers=count, interface=Interfaces.ASGI, beats=folder, times=first, renew=renew
        )
        self.made.wrks = [self.begin(idx) for idx in range(count)]

    def begin(self, _: int) -> Any:
        self.all.append(Fake(self.folder, self.now, self.obeys))
        return self.all[-1]

    def look(self, after_s: float = 0.0) -> list[Any]:
        self.now += after_s
        self.made.look(self.begin, self.now)
        return list(self.made.wrks)


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    found: list[int] = []
    monkeypatch.setattr("mcp_server.cli.serving.workers.os.kill", lambda pid, _: found.append(pid))
    return found


def test_pauses_between_crashes_grow_and_one_that_ran_long_begins_anew(tmp_path: Path) -> None:
    parent, pauses = Parent(tmp_path), []
    parent.all[0].begins()
    parent.look()
    for _ in range(9):
        parent.all[-1].runs = False
        parent.look()
        pauses.append(parent.made._due[0] - parent.now)
        parent.look(pauses[-1])
    assert pauses[:3] == pytest.approx([FIRST_PAUSE_S, 2 * FIRST_PAUSE_S, 4 * FIRST_PAUSE_S])
    assert pauses[-1] == pytest.approx(LONGEST_PAUSE_S)
    assert len(parent.all) == 10
    parent.now += STEADY_S
    parent.all[-1].runs = False
    parent.look()
    assert parent.made._due[0] - parent.now == pytest.approx(FIRST_PAUSE_S)


def test_the_crashes_of_one_do_not_hasten_another(tmp_path: Path) -> None:
    parent = Parent(tmp_path, count=2)
    parent.all[0].begins()
    for one in parent.all:
        one.runs = False
    parent.look()
    parent.look(FIRST_PAUSE_S / 2)
    assert len(parent.all) == 2
    parent.look(FIRST_PAUSE_S)
    assert len(parent.all) == 4


@pytest.mark.parametrize("came_up", [True, False])
def test_only_where_none_has_come_up_and_none_is_on_its_way_it_is_hopeless(tmp_path: Path, *, came_up: bool) -> None:
    parent = Parent(tmp_path, count=2)
    if came_up:
        parent.all[1].begins()
    for _ in range(2):
        at_first: Any = parent.made.wrks[0]
        at_first.runs = False
        parent.look()
        assert not parent.made.hopeless  # the other one is on its way
        parent.look(LONGEST_PAUSE_S)
    for one in parent.all:
        one.runs = False
    parent.look()
    assert parent.made.hopeless is not came_up


def test_a_hang_up_replaces_one_after_the_other_and_old_ones_end_meanwhile(tmp_path: Path, killed: list[int]) -> None:
    times = WorkerTimes(kill_s=10), WorkerTimes(kill_s=70)
    parent = Parent(tmp_path, *times, count=2, obeys=False)
    old = list(parent.all)
    for one in old:
        one.begins()
    parent.made.signal_handler_reload()
    assert parent.look() == old
    new = parent.all[2]
    assert parent.look(1) == old
    new.begins()
    assert parent.look() == [new, old[1]]
    assert old[0].told == 1
    new.runs = False  # a crash meanwhile is not waited with
    parent.look()
    parent.look(FIRST_PAUSE_S)
    now: Any = parent.made.wrks[0]
    assert now not in (*old, new)
    for one in parent.all[3:]:
        one.begins()
    parent.look()
    assert (old[1].told, killed) == (1, [])
    parent.look(71)
    assert killed == [one.inner.pid for one in old]


@pytest.mark.parametrize("how", ["dies", "takes too long"])
def test_where_a_new_worker_cannot_begin_the_old_ones_go_on(tmp_path: Path, killed: list[int], how: str) -> None:
    parent = Parent(tmp_path, WorkerTimes(), WorkerTimes(), count=2)
    old = list(parent.all)
    old[0].begins()
    parent.made.signal_handler_reload()
    parent.look()
    if how == "dies":
        parent.all[2].runs = False
    assert parent.look(0 if how == "dies" else BEGIN_S) == old
    assert parent.look(1) == old
    assert (len(parent.all), [one.told for one in old], killed) == (3, [0, 0], [parent.all[2].inner.pid])


@pytest.mark.parametrize("how", ["dies", "takes too long", "is stopped"])
def test_whoever_has_ended_has_no_gauge_any_more(
    tmp_path: Path, killed: list[int], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """One that could not begin has opened its counters: what a scrape adds up had its gauges for ever."""
    ended: list[int] = []
    monkeypatch.setattr("mcp_server.cli.serving.workers.metrics.process_ended", ended.append)
    parent = Parent(tmp_path, WorkerTimes(), WorkerTimes())
    parent.all[0].begins()
    parent.made.signal_handler_reload()
    parent.look()
    new = parent.all[1]
    if how == "is stopped":
        parent.made._stop_workers()
        assert ended == [one.inner.pid for one in parent.all]
        return
    new.runs = how != "dies"
    parent.look(BEGIN_S)
    assert ended == ([] if new.runs else [new.inner.pid])
    new.runs = False
    parent.look()
    parent.look(1)
    assert (ended, killed) == ([new.inner.pid], [new.inner.pid])


def test_settings_that_cannot_be_used_leave_the_workers(tmp_path: Path) -> None:
    parent = Parent(tmp_path, WorkerTimes(), None)
    parent.all[0].begins()
    parent.made.signal_handler_reload()
    parent.look()
    assert (len(parent.look()), len(parent.all), parent.made.reload_signal) == (1, 1, False)


def test_one_that_hangs_is_killed(tmp_path: Path, killed: list[int]) -> None:
    parent = Parent(tmp_path, WorkerTimes(hung_s=2))
    parent.all[0].begins()
    for _ in range(3):
        parent.look(1)
    assert killed == [parent.all[0].inner.pid]


def test_a_stop_tells_all_and_kills_who_stays(tmp_path: Path, killed: list[int]) -> None:
    parent = Parent(tmp_path, WorkerTimes(kill_s=0), count=2)
    stubborn = parent.all[1]
    stubborn.obeys = False
    stubborn.inner.is_alive = lambda: not killed
    parent.made._stop_workers()
    assert ([one.told for one in parent.all], killed) == ([1, 1], [stubborn.inner.pid])
    assert parent.made.wrks == []


def test_all_workers_have_one_queue_and_one_that_leaves_it_costs_no_connection(tmp_path: Path) -> None:
    made = Parent(tmp_path).made
    made._init_shared_socket()
    mine: Any = made._sso
    mine.listen()
    with (
        mine,
        socket.socket(fileno=os.dup(mine.fileno())) as others,
        socket.create_server(("127.0.0.1", 0)) as authors,
        socket.create_connection(("127.0.0.1", made.bind_port)),
    ):
        assert mine.get_inheritable()
        graceful.let_others_accept(made.bind_port)
        families = [socket.socket(fileno=os.dup(one.fileno())) for one in (mine, others, authors)]
        assert [one.family for one in families] == [socket.AF_UNIX, socket.AF_UNIX, socket.AF_INET]
        for one in families:
            one.close()
