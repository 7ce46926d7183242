"""The audit: lines of the known and of strangers apart, rotated, and kept until they can be written."""

import asyncio
import multiprocessing
import os
import pty
import shutil
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mcp_server.observe import metrics, sampling
from mcp_server.observe.audit import AuditLog, Decision
from mcp_server.observe.recorder import CallRecorder
from mcp_server.observe.sampling import MAX_KINDS, SAMPLED, SAMPLED_S, Sampler
from mcp_server.observe.writing.writer import MAX_GATHERED, MAX_KEPT

KNOWN = {"issuer": "https://i", "subject": "u"}


def decided(number: int, **more: Any) -> Decision:
    return Decision(number, **{"decision": "allow", **KNOWN, **more})


def put(audit: AuditLog, *decisions: Decision) -> None:
    """Write each, and wait until it is written or could not be."""
    for one in decisions:
        audit.write(one)
        audit.flush()


def lines(path: Path) -> list[dict[str, object]]:
    """The lines of a file and of those rotated away, torn halves left out."""
    found = []
    for one in sorted(path.parent.glob(path.name + "*")):
        found += [line for line in one.read_bytes().splitlines() if line.endswith(b"}")]
    return [msgspec.json.decode(line) for line in found]


def counted(name: str) -> float:
    text = metrics.exposition().decode()
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(name + " "))


def test_a_file_rotates_and_keeps_so_many(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "audit.jsonl"
    audit = AuditLog(str(path), max_bytes=200, keep=2)
    audit.open()
    for number in range(40):
        put(audit, decided(number, request_id="r" * 20))
    audit.close()
    files = sorted(one.name for one in path.parent.iterdir())
    assert files == ["audit.jsonl", "audit.jsonl.1", "audit.jsonl.2", "audit.strangers.jsonl"]
    assert {line["decision"] for line in lines(path)} == {"allow"}


def test_strangers_rotate_nothing_but_their_own_file(tmp_path: Path) -> None:
    """C6: 720 requests without a token pushed a payment out of the audit, scaled down."""
    path = tmp_path / "audit.jsonl"
    audit = AuditLog(str(path), max_bytes=1000, keep=2)
    audit.write(decided(1, tool="pay"))
    for number in range(200):
        put(audit, Decision(number, "deny", "no_credentials"))
    audit.close()
    assert [line["tool"] for line in lines(path)] == ["pay"]
    assert {line["reason"] for line in lines(tmp_path / "audit.strangers.jsonl")} == {"no_credentials"}
    assert sum(one.stat().st_size for one in tmp_path.iterdir()) < 5000


def test_on_one_stream_strangers_are_sampled_and_the_rest_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    sys.stdout.flush()
    audit = AuditLog("-")
    for number in range(SAMPLED + 50):
        audit.write(Decision(number, "deny", "no_credentials"))
        audit.write(decided(number))
    audit.close()
    found = [msgspec.json.decode(line) for line in capfd.readouterr().out.splitlines()]
    assert sum(line["decision"] == "allow" for line in found) == SAMPLED + 50
    assert sum(line.get("reason") == "no_credentials" for line in found) == SAMPLED + 1
    assert [line["more"] for line in found if "more" in line] == [50]


def sampler(now: list[float]) -> tuple[Sampler[str], list[tuple[str, int]]]:
    told = list[tuple[str, int]]()
    return Sampler(lambda kind, more, *_: told.append((kind, more)), "other", lambda: now[0]), told


def test_a_new_window_has_room_again() -> None:
    now = [0.0]
    sample, told = sampler(now)
    assert [sample.takes("a") for _ in range(SAMPLED + 3)].count(True) == SAMPLED
    assert sample.takes("b")
    now[0] = float(SAMPLED_S)
    assert sample.takes("a")
    assert told == [("a", 3)]
    now[0] = 2.0 * SAMPLED_S
    assert sample.takes("a")
    assert told == [("a", 3)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a system that forks")
def test_a_forked_child_samples_by_itself_whatever_a_thread_of_its_parent_was_at() -> None:
    """The lock was held for ever there: a child that a handler forks stood still at its first line."""
    inside, go = threading.Event(), threading.Event()

    class Held(str):
        __slots__ = ()

        def __hash__(self) -> int:
            inside.set()
            go.wait(60)
            return super().__hash__()

    sample, told = sampler([0.0])
    while sample.takes("a"):
        pass
    (other := threading.Thread(target=sample.takes, args=(Held("b"),), daemon=True)).start()
    inside.wait(60)
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(30)
        taken = sample.takes("a")
        sample.end()
        os._exit(0 if taken and not told else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    go.set()
    other.join(60)
    sample.end()
    assert told == [("a", 1)]


def test_who_varies_what_is_refused_takes_no_memory_with_it() -> None:
    sample, told = sampler([0.0])
    taken = sum(sample.takes(str(number)) for number in range(10_000))
    sample.end()
    assert taken == MAX_KINDS + SAMPLED
    assert told == [("other", 10_000 - taken)]


async def test_what_was_left_out_is_said_though_nobody_comes_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "SAMPLED_S", 0.01)
    told = asyncio.get_running_loop().create_future()
    sample = Sampler[str](lambda _, more, since, until: told.set_result((more, since <= until)), "other")
    while sample.takes("a"):
        pass
    async with asyncio.timeout(60):
        assert await told == (1, True)


@pytest.mark.parametrize("limit", ["too_fast", "tool_too_fast", "client_quota_used", "server_too_many_at_once"])
def test_a_flood_that_a_limit_refuses_is_sampled_for_each_caller_and_nothing_else_of_the_known_is(
    tmp_path: Path, limit: str
) -> None:
    path = tmp_path / "audit.jsonl"
    audit = AuditLog(str(path))
    for _ in range(SAMPLED + 5):
        audit.write(decided(1, decision="deny", reason=limit, client="c"))
        audit.write(decided(1, decision="deny", reason="insufficient_scope"))
        audit.write(decided(1, decision="deny", reason="-32602", seconds=0.1))
    audit.write(Decision(1, "deny", limit, issuer="https://i", subject="other"))
    audit.close()
    found = [(line["reason"], line["subject"], line.get("more", 0)) for line in lines(path)]
    assert found.count(("insufficient_scope", "u", 0)) == found.count(("-32602", "u", 0)) == SAMPLED + 5
    assert found.count((limit, "u", 0)) == SAMPLED
    assert (limit, "other", 0) in found
    (summary,) = (line for line in lines(path) if "more" in line)
    assert (summary["reason"], summary["client"], summary["more"]) == (limit, "c", 5)
    assert summary["time"] <= summary["until"]  # type: ignore[operator]


def test_workers_that_share_a_file_lose_no_line_at_its_rotation(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    start = multiprocessing.get_context("spawn")
    workers = [start.Process(target=_write_many, args=(str(path), who)) for who in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    found = {(line["subject"], line["time"]) for line in lines(path)}
    assert len(found) == 3 * 300


def _write_many(path: str, who: int) -> None:
    audit = AuditLog(path, max_bytes=2000, keep=900)
    for number in range(300):
        audit.write(decided(number, subject=str(who)))
        if number % 5 == 0:
            audit.flush()
    audit.close()


def test_a_file_that_went_away_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "audit.jsonl"
    audit = AuditLog(str(path))
    put(audit, decided(1))
    path.unlink()
    put(audit, decided(2))
    shutil.rmtree(path.parent)
    put(audit, decided(3))
    assert [line["time"] for line in lines(path)] == [3.0]
    assert not audit.failing
    audit.close()


def test_a_rotation_that_another_worker_did_first_is_not_done_again(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    one, other = (AuditLog(str(path), max_bytes=150, keep=9) for _ in range(2))
    for number in range(6):
        put(one, decided(number))
        put(other, decided(number))
    assert len(lines(path)) == 12
    one.close()
    other.close()


def test_a_line_after_the_end_opens_the_file_again(tmp_path: Path) -> None:
    """House fault 11: it went to whoever had the descriptor's number by then."""
    path, victim = tmp_path / "audit.jsonl", tmp_path / "victim"
    audit = AuditLog(str(path))
    audit.close()
    with victim.open("w") as held:
        put(audit, decided(1))
        held.write("own bytes")
    assert victim.read_text() == "own bytes"
    assert len(lines(path)) == 1
    audit.close()


async def test_lines_are_gathered_and_a_full_buffer_is_written_at_once(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    audit = AuditLog(str(path))
    audit.write(decided(1))
    assert lines(path) == []
    audit.write(decided(2, request_id="x" * MAX_GATHERED))
    await audit.written()
    assert len(lines(path)) == 2
    audit.close()


async def test_lines_wait_while_the_folder_cannot_be_made_and_come_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """House fault 10: what had been taken from the buffer was lost, and the error went into the request."""
    monkeypatch.setattr("mcp_server.observe.writing.writer.RETRY_S", 0.01)
    path, before = tmp_path / "deep" / "audit.jsonl", counted("mcp_audit_failed_writes_total")
    audit = AuditLog(str(path), on_fail="refuse")
    audit.open()
    shutil.rmtree(path.parent)
    path.parent.write_text("in the way")
    for number in range(3):
        audit.write(decided(number))
        audit.flush()
    assert audit.failing
    assert audit.refuses
    assert counted("mcp_audit_failed_writes_total") > before
    path.parent.unlink()
    audit.write(decided(3))
    async with asyncio.timeout(60):
        while audit.failing:
            await asyncio.wait([asyncio.ensure_future(asyncio.to_thread(lambda: None))])
    audit.flush()  # the last line may be in the queue still when those that waited are written
    assert [line["time"] for line in lines(path)] == [0, 1, 2, 3]
    assert not audit.refuses
    audit.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_a_full_disk_loses_nothing_until_there_is_no_room_and_says_what_it_lost() -> None:
    """C6: `MCP_AUDIT_FILE=/dev/full` lost each line and said nothing."""
    lost = counted("mcp_audit_dropped_total")
    audit = AuditLog("/dev/full")
    put(audit, decided(1))
    assert audit.failing
    assert not audit.refuses
    assert not Path("/dev/full.strangers").exists()
    audit.write(decided(2, request_id="x" * MAX_KEPT))
    assert counted("mcp_audit_dropped_total") == lost + 1
    audit.close()
    assert counted("mcp_audit_dropped_total") == lost + 2


def test_a_pipe_that_nobody_reads_any_more_is_a_failure_and_no_crash(tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    audit = AuditLog(f"/dev/fd/{theirs}")
    os.close(ours)
    put(audit, decided(1))
    assert audit.failing
    audit.close()
    os.close(theirs)


def test_a_terminal_is_one_stream(tmp_path: Path) -> None:
    master, slave = pty.openpty()
    audit = AuditLog(os.ttyname(slave))
    audit.write(Decision(1, "deny"))
    audit.close()
    assert b'"deny"' in os.read(master, 1000)
    os.close(master)
    os.close(slave)


def test_a_line_with_half_a_surrogate_is_written_too(tmp_path: Path) -> None:
    audit = AuditLog(str(tmp_path / "audit.jsonl"))
    audit.write(decided(1, subject="\ud800"))
    audit.close()
    assert rb'"subject": "\ud800"' in (tmp_path / "audit.jsonl").read_bytes()


def test_a_path_that_cannot_be_used_is_told_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    audit = AuditLog(str(tmp_path / "file" / "audit.jsonl"))
    with pytest.raises(OSError, match="file"):
        audit.open()


def test_nothing_is_opened_before_it_is_told_to_and_it_can_be_told_again(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "audit.jsonl"
    audit = AuditLog(str(path))
    assert not path.parent.exists()
    for number in range(2):
        audit.open()
        audit.open()
        audit.write(decided(number))
        audit.close()
    assert len(lines(path)) == 2


@pytest.mark.parametrize("on_fail", ["drop", "refuse"])
async def test_what_is_not_written_ahead_refuses_at_once_where_that_is_said(tmp_path: Path, on_fail: Any) -> None:
    """A second is over before a stall counts as a failure: the call that waited it ran, with no line of it."""
    os.mkfifo(path := tmp_path / "unread")
    recorder = CallRecorder(audit := AuditLog(str(path), on_fail=on_fail))
    assert await recorder.written(decided(1)) == (on_fail == "drop")
    audit.close()
