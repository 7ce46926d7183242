"""What servers left that were killed: removed at a later start, and nothing else."""

import os
import tempfile
import time
from pathlib import Path

import pytest

from mcp_server.cli.serving import folder
from mcp_server.cli.serving.folder import DEAD_S, METRICS_PREFIX, PREFIX, locked, name_server, sweep

LATER = time.time() + 10 * DEAD_S


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(folder, "_MEMORY", tmp_path)
    return tmp_path


def made(place: Path, name: str, *, server: bool = True) -> Path:
    (found := place / name).mkdir()
    if server:
        name_server(found, "https://mcp.example.com")
    return found


def ended() -> int:
    """The number of a process that has ended."""
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    return child


def test_the_folders_of_the_dead_are_removed_and_those_of_the_living_stay(place: Path) -> None:
    dead, lives = made(place, f"{PREFIX}dead"), made(place, f"{PREFIX}lives")
    (dead / "keys").mkdir()
    counters = made(place, f"{METRICS_PREFIX}dead", server=False)
    (counters / f"counter_{ended()}.db").touch()
    with locked(lives):
        assert sweep(time.time()) == 0  # too young: it may be being made
        assert sweep(LATER) == 2
    assert list(place.iterdir()) == [lives]


def test_what_is_no_servers_stays(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = made(place, "elsewhere")
    (place / f"{PREFIX}link").symlink_to(elsewhere)
    made(place, f"{PREFIX}mine", server=False)
    (place / f"{PREFIX}file").touch()
    older = made(place, f"{METRICS_PREFIX}older", server=False)
    (older / f"gauge_livesum_{os.getpid()}.db").touch()
    other = made(place, f"{METRICS_PREFIX}other", server=False)
    (other / "notes.txt").touch()
    odd = made(place, f"{METRICS_PREFIX}odd", server=False)
    (odd / "counter_x.db").touch()
    before = sorted(place.rglob("*"))
    assert sweep(LATER) == 0
    monkeypatch.setattr(os, "getuid", lambda: -1)
    made(place, f"{PREFIX}anothers")
    assert sweep(LATER) == 0
    assert set(before) < set(place.rglob("*"))


def test_one_start_removes_no_more_than_a_bound(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "MAX_SWEPT", 3)
    for number in range(5):
        made(place, f"{PREFIX}{number}")
    assert [sweep(LATER) for _ in range(3)] == [3, 2, 0]
