"""Settings read anew while workers serve: when that is done, what becomes of it, and how workers hear of it."""

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from mcp_server import settings
from mcp_server.cli.serving import handover as handover_module
from mcp_server.cli.serving.handover import Handover, SettingsFollower, SettingsSnapshot
from mcp_server.cli.serving.renewal import AGAIN_S, WATCH_S, ReadingProcess, Renewal
from mcp_server.observe import metrics
from mcp_server.observe.redaction import redact_field
from mcp_server.protocol.sealed import InvalidSealedValue
from mcp_server.settings import Found, Settings, report
from mcp_server.settings.live import LiveSettings
from tests.kit.logs import logged

GOOD = {"MCP_ISSUER": "https://kc.example/realms/mcp", "MCP_RESOURCE": "https://x.example/mcp"}
OLD = GOOD | {"MCP_CLIENT_SECRET": "old", "MCP_STATE_KEYS": "o" * 32}
MANAGER = {"MCP_SECRETS": "ssm:/mcp"}
KEY = "k" * 32


class Hand:
    """A reading of managers that a test ends."""

    def __init__(self) -> None:
        self.found: Found | None = None
        self.stopped = False

    def done(self, _: float) -> Found | None:
        return self.found

    def stop(self) -> None:
        self.stopped = True


class Parent:
    """A renewal, what its files say, and the readings that it began."""

    def __init__(self, folder: Path, stated: dict[str, str]) -> None:
        self.local, self.now = dict(stated), 1000.0
        self.readings: list[Hand] = []
        self.handover = Handover(folder, KEY, SettingsSnapshot(texts=dict(stated), read_at=0.0))
        self.renewal = Renewal(
            found(stated), {"MCP_STATE_KEYS": KEY}, self.handover, begin=self._begin, read=lambda: found(self.local)
        )

    def _begin(self, _: float) -> Hand:
        self.readings.append(Hand())
        return self.readings[-1]

    def look(self, after_s: float = 0.0, *, asked: bool = False) -> bool | None:
        """Whether workers are replaced; None where nothing was taken."""
        self.now += after_s
        read = self.renewal.look(self.now, asked=asked)
        return None if read is None else read.replaces


def raising(error: Exception) -> Found:
    raise error


def found(texts: dict[str, str], *problems: str) -> Found:
    return Found(dict(texts), list(problems), frozenset(), frozenset())


@pytest.mark.parametrize(
    ("changed", "replaces"),
    [
        ({}, True),
        ({"MCP_CLIENT_SECRET": "new", "MCP_STATE_KEYS": "n" * 32}, False),
        ({"MCP_CLIENT_SECRET": "new", "MCP_PAGE_SIZE": "7"}, True),
        ({"MCP_CLIENT_SECRET": ""}, True),
        ({"MCP_UPSTREAM_SECRETS": '{"a": "b"}'}, False),
    ],
)
def test_a_hang_up_replaces_workers_unless_they_take_over_all_that_has_changed(
    tmp_path: Path, changed: dict[str, str], *, replaces: bool
) -> None:
    parent = Parent(tmp_path, OLD)
    parent.local = {name: text for name, text in (OLD | changed).items() if text}
    assert parent.look(asked=True) is replaces
    assert parent.handover.current.texts == parent.local
    assert parent.look() is None


def test_a_secret_that_is_taken_away_needs_new_workers(tmp_path: Path) -> None:
    parent = Parent(tmp_path, OLD | {"MCP_UPSTREAM_SECRETS": '{"a": "b", "c": "d"}'})
    parent.local["MCP_UPSTREAM_SECRETS"] = '{"a": "x"}'
    assert parent.look(asked=True) is True


def test_files_are_looked_at_every_few_seconds_and_told_where_they_have_changed(tmp_path: Path) -> None:
    parent = Parent(tmp_path, OLD)
    parent.look()
    parent.local["MCP_CLIENT_SECRET"] = "new"
    assert parent.look(WATCH_S - 0.1) is None
    assert parent.look(0.2) is False
    assert parent.look(WATCH_S) is None
    with logged() as lines:
        parent.local |= {"MCP_PORT": "9999", "MCP_ISSUER": "https://kc.example/realms/other"}
        assert parent.look(WATCH_S) is False
    assert (lines[0]["settings"], parent.handover.current.stale) == (["MCP_ISSUER", "MCP_PORT"], ["MCP_PORT"])
    with logged() as lines:
        assert parent.look(asked=True) is True
    assert lines[0]["settings"] == ["MCP_PORT"]


def test_what_cannot_be_used_leaves_all_as_it_is_and_is_counted(tmp_path: Path) -> None:
    parent = Parent(tmp_path, OLD)
    parent.local = GOOD | {"MCP_CLIENT_SECRET": "s3cret", "MCP_PAGE_SIZE": "s3cret"}
    with logged() as lines:
        assert parent.look(asked=True) is None
    assert lines[0]["problems"] == ["must be a whole number (MCP_PAGE_SIZE)"]
    assert (parent.handover.current.texts, parent.handover.current.failed) == (OLD, 1)
    assert parent.handover.poll()
    assert (parent.handover.current.texts, parent.handover.current.failed) == (OLD, 1)
    assert "s3cret" not in repr(parent.handover.current)


@pytest.mark.parametrize(
    "problem",
    [
        "MCP_SECRETS: vault:https://vault:8200/kv/data/mcp: as kubernetes role mcp: needs the capability read on kv/data/mcp",
        "MCP_SECRETS: vault:https://vault:8200/kv/data/mcp: as the token of the environment (VAULT_TOKEN): needs the capability x",
        "MCP_STATE_KEYS: each must have at least 32 characters: openssl rand -base64 32",
        "MCP_CLIENT_SECRT: no such setting; did you mean MCP_CLIENT_SECRET?",
        "a line without a name",
    ],
)
def test_what_is_wrong_with_a_secret_can_be_read_in_the_log(problem: str) -> None:
    lines = report.logged([problem, problem])
    assert redact_field("problems", lines) == str(lines)
    assert all(part in lines[0] for part in problem.split(": "))


def test_managers_are_asked_at_their_interval_and_nothing_waits_for_them(tmp_path: Path) -> None:
    parent = Parent(tmp_path, OLD | MANAGER | {"MCP_SECRETS_REFRESH_S": "100"})
    parent.look()
    assert parent.look(89) is None
    assert parent.readings == []
    assert parent.look(22) is None
    (first,) = parent.readings
    assert parent.look(1, asked=True) is None  # a hang-up meanwhile is not forgotten
    first.found = found(parent.local | {"MCP_CLIENT_SECRET": "new"})
    assert parent.look(1) is False
    parent.look(89)
    parent.look(22)
    parent.readings[1].found = found(parent.local, "MCP_SECRETS: ssm:/mcp: says no")
    with logged() as lines:
        assert parent.look(1) is None
    assert lines[0]["problems"] == ["ssm:/mcp: says no (MCP_SECRETS)"]
    assert parent.handover.current.texts["MCP_CLIENT_SECRET"] == "new"
    assert parent.look(AGAIN_S) is None
    assert len(parent.readings) == 3  # sooner than it would be due
    parent.renewal.stop()
    assert [one.stopped for one in parent.readings] == [False, False, True]


def test_a_manager_that_stays_away_is_told_ever_more_seldom(tmp_path: Path) -> None:
    parent = Parent(tmp_path, OLD | MANAGER | {"MCP_SECRETS_REFRESH_S": "100"})

    def reading(*problems: str, asked: bool = False) -> None:
        while not (begun := len(parent.readings)) or parent.readings[-1].found:
            parent.look(AGAIN_S, asked=asked)
            asked = False
        parent.readings[begun - 1].found = found(parent.local, *problems)
        parent.look(1)

    told = list[object]()
    with logged() as lines:
        for number in range(1, 2881):  # a day of them
            reading("MCP_SECRETS: ssm:/mcp: answered 503" if number % 3 else "MCP_SECRETS: ssm:/mcp: answered 500")
        told += [line["times"] for line in lines]
        reading("MCP_SECRETS: ssm:/mcp: answered 503", asked=True)
        assert (len(lines), lines[-1]["times"]) == (len(told) + 1, 2881)
        reading()
    assert told == [1, 2, 3, *(1 << power for power in range(2, 12))]
    assert (lines[-1]["text"], lines[-1]["failed"]) == ("settings can be read again", 2881)
    assert parent.handover.current.failed == 2881


def test_managers_that_are_no_longer_named_are_not_asked(tmp_path: Path) -> None:
    parent = Parent(tmp_path, OLD | MANAGER | {"MCP_SECRETS_REFRESH_S": "100"})
    parent.look()
    del parent.local["MCP_SECRETS"]
    assert parent.look(WATCH_S) is False
    assert [parent.look(200), parent.look(200)] == [None, None]
    assert parent.readings == []


def test_no_process_is_told_and_the_next_look_comes(tmp_path: Path) -> None:
    parent = Parent(tmp_path, OLD)
    parent.renewal._read = lambda: raising(OSError(24, "Too many open files"))
    with logged() as lines:
        assert parent.look(WATCH_S, asked=True) is None
    assert lines[0]["reason"] == "Too many open files"
    parent.renewal._read = lambda: found(parent.local)
    assert parent.look() is True
    with pytest.raises(OSError, match="too large"):
        parent.handover.publish(SettingsSnapshot(texts={"MCP_PATH": "x" * 300_000}, read_at=0))


@pytest.mark.parametrize("asked", [False, True])
def test_without_room_workers_that_run_are_told_later_and_new_ones_know(tmp_path: Path, *, asked: bool) -> None:
    parent = Parent(tmp_path, OLD)
    parent.handover.publish(parent.handover.current)
    running = Handover(tmp_path, KEY, parent.handover.current)
    parent.handover._path = tmp_path / "gone" / "settings"
    parent.local["MCP_CLIENT_SECRET"] = "new"
    with logged() as lines:
        assert parent.look(WATCH_S, asked=asked) is False  # a hang-up is done all the same
    assert lines[0]["reason"] == "No such file or directory"
    begun = Handover(tmp_path, KEY, parent.handover.current)
    assert (begun.poll(), begun.current.texts) == (False, parent.local)  # what lies there is older
    parent.handover._path = tmp_path / "settings"
    assert parent.look(AGAIN_S) is None
    assert [one.poll() for one in (running, begun)] == [True, True]
    assert running.current.texts == begun.current.texts == parent.local
    written = (tmp_path / "settings").stat().st_mtime_ns
    parent.look(2 * AGAIN_S)
    assert (tmp_path / "settings").stat().st_mtime_ns == written


def test_a_worker_that_could_not_read_what_is_told_reads_it_later(tmp_path: Path) -> None:
    parent = Parent(tmp_path, OLD)
    parent.handover.publish(SettingsSnapshot(texts=OLD | {"MCP_CLIENT_SECRET": "new"}, read_at=1))
    worker = Handover(tmp_path, KEY, SettingsSnapshot(texts=OLD, read_at=0))
    (tmp_path / "settings").rename(tmp_path / "kept")
    (tmp_path / "settings").symlink_to(tmp_path)  # nothing that can be read
    with pytest.raises(OSError, match="directory"):
        worker.poll()
    (tmp_path / "kept").replace(tmp_path / "settings")
    assert worker.poll()
    assert worker.current.texts["MCP_CLIENT_SECRET"] == "new"


def test_a_reading_that_began_before_a_hang_up_is_not_its_answer(tmp_path: Path) -> None:
    parent = Parent(tmp_path, OLD | MANAGER | {"MCP_SECRETS_REFRESH_S": "100"})
    parent.look()
    parent.look(111)
    assert parent.look(1, asked=True) is None
    parent.readings[0].found = found(parent.local | {"MCP_PAGE_SIZE": "7"})
    assert parent.look(1) is False
    assert parent.look(1) is None
    parent.readings[1].found = found(parent.local | {"MCP_PAGE_SIZE": "7", "MCP_CLIENT_SECRET": "new"})
    assert parent.look(1) is True  # for the page size, which was another one when it was asked for
    assert parent.look(1) is None
    assert len(parent.readings) == 2


def test_a_process_reads_and_says_nothing_that_others_see(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in OLD.items():
        monkeypatch.setenv(name, text)
    monkeypatch.chdir(tmp_path)
    reading = ReadingProcess(time.monotonic())
    try:
        reading._pipe.poll(60)
        read = reading.done(0.0)
    finally:
        reading._process.kill()
    assert read is not None
    assert (read.texts["MCP_CLIENT_SECRET"], read.problems) == ("old", [])
    assert "old" not in repr(read)


@pytest.mark.parametrize(("late", "told"), [(True, "was not over in its time"), (False, "ended without a word")])
def test_a_process_that_says_nothing_is_a_problem_like_any_other(
    monkeypatch: pytest.MonkeyPatch, told: str, *, late: bool
) -> None:
    monkeypatch.setattr(settings, "read", signal.pause if late else lambda: os._exit(3))
    reading = ReadingProcess(0.0)
    assert reading.done(0.0) is None or not late
    if not late:
        reading._process.join(60)
    read = reading.done(100.0)
    assert read is not None
    assert read.problems == [f"MCP_SECRETS: the process that reads settings {told}"]


def test_what_is_handed_over_is_sealed_and_for_its_owner_alone(tmp_path: Path) -> None:
    handed = Handover(tmp_path, KEY, SettingsSnapshot(texts={}, read_at=0))
    assert not handed.poll()
    handed.publish(SettingsSnapshot(texts={"MCP_CLIENT_SECRET": "s3cret"}, read_at=1))
    (path,) = tmp_path.iterdir()
    assert (path.stat().st_mode & 0o777, b"s3cret" in path.read_bytes()) == (0o600, False)
    other = Handover(tmp_path, "x" * 32, SettingsSnapshot(texts={}, read_at=0))
    with pytest.raises(InvalidSealedValue):
        other.poll()
    worker = Handover(tmp_path, KEY, SettingsSnapshot(texts={}, read_at=0))
    assert [worker.poll(), worker.poll(), worker.current.texts] == [True, False, {"MCP_CLIENT_SECRET": "s3cret"}]


async def test_a_worker_takes_over_what_is_new_and_tries_again_what_cannot_be_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handover_module, "LOOK_S", 0.001)
    handed = Handover(tmp_path, KEY, SettingsSnapshot(texts=dict(OLD), read_at=time.time()))
    live, taken = LiveSettings(settings.from_texts(OLD)), list[str]()
    done = asyncio.Event()

    async def take(new: Settings) -> bool:
        taken.append(new.auth.secret())
        if len(taken) == 2:
            done.set()
        return len(taken) > 1

    async def fails(_: Settings) -> bool:
        raise RuntimeError("s3cret")

    live.follow("client_secret", take)
    live.follow("upstream_secrets", fails)
    SettingsFollower(handed, live, {}).start()
    new = OLD | {"MCP_CLIENT_SECRET": "new", "MCP_PAGE_SIZE": "7", "MCP_UPSTREAM_SECRETS": '{"a": "s3cret"}'}
    with logged() as lines:
        handed.publish(SettingsSnapshot(texts=new, read_at=0.0, failed=3, stale=["MCP_PORT"]))
        handed._seen = 0
        async with asyncio.timeout(60):
            await done.wait()
    assert taken == ["new", "new"]
    assert live.stale == ["page_size", "upstream_secrets"]
    assert "s3cret" not in str(lines)
    told = metrics.exposition().decode()
    assert "mcp_secrets_failed_reads 3.0" in told
    assert "mcp_config_stale " in told
