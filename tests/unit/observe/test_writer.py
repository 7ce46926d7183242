"""The writer thread: bounded, never waited for, and forgotten in a child; the log over it, sampled."""

import asyncio
import io
import json
import os
import subprocess
import sys
from typing import Any

import msgspec
import pytest

from mcp_server.observe import log, metrics, tracing
from mcp_server.observe.sampling import SAMPLED
from mcp_server.observe.tracing import RequestContext
from mcp_server.observe.writing import writer as writer_module
from mcp_server.observe.writing.writer import MAX_KEPT, LineWriter, Watcher
from tests.kit.outlets import Memory, Told


def test_what_holds_a_write_holds_nobody_and_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "STALL_S", 0.0)
    outlet, told = Memory(), Told()
    writer = LineWriter(outlet, told)
    outlet.gate.clear()
    writer.put(b"one")
    assert outlet.inside.wait(5)
    assert writer.failing
    assert not writer.flush(0.01)
    writer.put(b"x" * MAX_KEPT)
    assert told.lost == 1
    writer.close(0.01)
    assert (told.lost, outlet.closed) == (2, 0)
    outlet.gate.set()
    assert writer.flush(5)
    assert writer.flush(5)  # and the line of what was lost
    assert outlet.taken == b"one\n1 lost\n"
    assert not writer.failing
    writer.close(5)
    assert outlet.closed == 1
    writer.put(b"again")
    writer.close(5)
    assert outlet.taken.endswith(b"again\n")


@pytest.mark.parametrize("more", [b"", b"two"])
async def test_who_waits_for_a_line_that_is_being_written_is_told_when_it_is(
    monkeypatch: pytest.MonkeyPatch, more: bytes
) -> None:
    """There may be no further write that would tell it: a call that is written down first waited until it was late."""
    monkeypatch.setattr(writer_module, "RETRY_S", 600)
    outlet = Memory()
    writer = LineWriter(outlet, Watcher(), gather_s=600)
    outlet.gate.clear()
    writer.put(b"one", at_once=True)
    assert outlet.inside.wait(60)
    waiting = asyncio.ensure_future(writer.written())
    await asyncio.sleep(0)
    if more:  # gathered for so long
        writer.put(more)
    outlet.gate.set()
    async with asyncio.timeout(60):
        assert await waiting
    assert outlet.taken == b"one\n"
    writer.close(60)


async def test_who_waits_for_a_line_is_told_whether_it_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "RETRY_S", 5)
    outlet = Memory()
    writer = LineWriter(outlet, Watcher(), gather_s=60)
    assert await writer.written()
    writer.put(b"one", at_once=True)
    assert await writer.written()
    assert outlet.taken == b"one\n"
    monkeypatch.setattr(writer_module, "RETRY_S", 0.02)
    outlet.gate.clear()
    writer.put(b"two", at_once=True)
    assert not await writer.written()
    outlet.error = OSError(28, "No space left on device")
    outlet.gate.set()
    async with asyncio.timeout(60):
        while not writer.failure:
            await asyncio.to_thread(lambda: None)
    assert not await writer.written()
    outlet.error = None
    writer.close(5)
    assert outlet.taken == b"one\ntwo\n"


async def test_what_becomes_of_later_lines_says_nothing_of_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its waiter goes on a turn after the write: meanwhile the queue was given up, or another write has failed."""
    monkeypatch.setattr(writer_module, "RETRY_S", 60)
    for error in (None, OSError(28, "No space left on device")):
        outlet = Memory()
        writer = LineWriter(outlet, Watcher())
        outlet.gate.clear()
        outlet.error = error
        writer.put(b"one")
        assert outlet.inside.wait(60)
        waiting = asyncio.ensure_future(writer.written())
        await asyncio.sleep(0)
        outlet.gate.set()
        writer.flush(60)  # in this very turn, and so is the rest
        if error is None:
            outlet.error = OSError(28, "No space left on device")
            writer.put(b"two", at_once=True)
            writer.flush(60)
            assert writer.failing
        writer.close(0)
        assert not writer.failing
        assert await waiting == (error is None)


def test_a_line_without_room_is_told_at_once() -> None:
    outlet = Memory()
    writer = LineWriter(outlet, Told())
    outlet.gate.clear()
    assert writer.put(b"one")
    assert not writer.put(b"x" * MAX_KEPT)
    outlet.gate.set()
    writer.close(60)


def test_a_loop_that_has_ended_is_not_told() -> None:
    outlet = Memory()
    writer = LineWriter(outlet, Watcher())

    async def begin() -> None:
        outlet.gate.clear()
        writer.put(b"one", at_once=True)
        waiting = asyncio.ensure_future(writer.written())
        await asyncio.wait([waiting], timeout=0.01)
        waiting.cancel()

    asyncio.run(begin())
    outlet.gate.set()
    writer.close(5)
    assert outlet.taken == b"one\n"


def test_without_a_thread_only_what_can_be_written_at_once_is() -> None:
    outlet = Memory()
    writer = LineWriter(outlet, Watcher(), threaded=False)
    writer.put(b"one")
    assert outlet.taken == b"one\n"
    outlet.error = OSError(28, "full")
    writer.put(b"two")
    assert writer.failing
    outlet.error = None
    assert writer.flush(0.0)
    assert outlet.taken == b"one\ntwo\n"
    assert writer._thread is None
    writer.close()


def test_a_forked_child_writes_its_own_lines_and_not_its_parents() -> None:
    outlet, source_end = Memory(), os.pipe()
    writer = LineWriter(outlet, Watcher(), gather_s=60)
    writer.put(b"the parent's")
    child = os.fork()
    if child == 0:
        writer.put(b"the child's")
        os.write(source_end[1], bytes(outlet.taken))  # it is not closed: nobody says so where a child ends
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(source_end[0], 100) == b"the child's\n"
    writer.close(5)
    assert outlet.taken == b"the parent's\n"
    for one in source_end:
        os.close(one)


FORKS = """
import multiprocessing
from mcp_server.observe import log

log.set_up("json")
log.logger.info("the parent's")
forking = multiprocessing.get_context("fork")
for number in range(20):
    child = forking.Process(target=log.logger.info, args=(f"of child {number}",))
    child.start()
    child.join()
log.logger.info("its last")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a system that forks")
def test_the_only_line_of_a_process_that_multiprocessing_forks_is_written() -> None:
    """It ends by `os._exit`, which asks no thread whether it has written what it was given: 82 of 100 were lost."""
    done = subprocess.run([sys.executable, "-c", FORKS], capture_output=True, text=True, check=True)
    said = [json.loads(line)["event"] for line in done.stderr.splitlines()]
    assert sorted(said) == sorted(["the parent's", "its last", *(f"of child {number}" for number in range(20))])


BURST = """
import multiprocessing
from mcp_server.observe import log

def work():
    for number in range(1000):
        log.logger.info("of the child", pad="x" * 300)

log.set_up("json")
child = multiprocessing.get_context("fork").Process(target=work)
child.start()
child.join()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a system that forks")
def test_a_forked_child_waits_for_who_is_behind() -> None:
    """What does not fit into a pipe was lost as it ended: nobody waits for it then."""
    with subprocess.Popen([sys.executable, "-c", BURST], stderr=subprocess.PIPE) as forks:
        assert forks.stderr is not None
        assert len(forks.stderr.read().splitlines()) == 1000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a system that forks")
def test_a_worker_that_is_forked_from_a_loaded_server_writes_by_a_thread_what_it_opens() -> None:
    """As gunicorn's `--preload` has it: each line would be written in the worker's loop."""
    source_end, writer = os.pipe(), LineWriter(outlet := Memory(), Watcher())
    outlet.gate.clear()
    if (child := os.fork()) == 0:
        writer.open()
        kept = writer.put(b"one")  # nobody takes it, and this goes on
        outlet.gate.set()
        writer.close(60)
        os.write(source_end[1], b"%d %s" % (kept, outlet.taken))
        os._exit(0)
    os.close(source_end[1])
    with os.fdopen(source_end[0], "rb") as answer:
        assert answer.read() == b"1 one\n"
    os.waitpid(child, 0)


def ours(count: int, name: str = "mcp_server.web.endpoint", **fields: Any) -> None:
    """Statements as a module of ours makes them."""
    said = {"__name__": name, "logger": log.logger, "count": count, "fields": fields}
    exec("for number in range(count):\n    logger.info('refused', **fields)", said)


def test_our_own_statements_are_sampled_by_their_reasons_and_nobody_elses() -> None:
    out = io.StringIO()
    log.set_up("json", stream=out)
    token = tracing.here.set(RequestContext("r1"))
    ours(SAMPLED + 5, reason="a")
    ours(1, reason="b")
    ours(SAMPLED + 5, name="theirs", reason="a")
    log.flush()
    tracing.here.reset(token)
    found = [msgspec.json.decode(line) for line in out.getvalue().splitlines()]
    assert len(found) == SAMPLED + 1 + SAMPLED + 5 + 1
    assert found[-1].items() >= {"level": "info", "event": "refused", "reason": "a", "more": 5}.items()
    assert found[-1]["time"] <= found[-1]["until"]
    assert "request_id" not in found[-1]


def test_the_end_of_a_process_asks_nothing_of_a_stream_that_its_program_closed() -> None:
    out = io.StringIO()
    log.set_up("json", stream=out)
    ours(SAMPLED + 5, reason="a")
    out.close()
    log.flush()


@pytest.mark.parametrize("kind", ["json", "pretty"])
def test_standard_error_that_nobody_reads_holds_nobody(kind: log.LogFormat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "RETRY_S", 0.01)
    monkeypatch.setattr(writer_module, "MAX_KEPT", 100_000)
    source, end = os.pipe()
    with os.fdopen(end, "w") as stderr:
        monkeypatch.setattr("sys.stderr", stderr)
        log.set_up(kind)
        monkeypatch.setattr(log, "FLUSH_S", 0.05)
        for number in range(700):
            log.logger.warning("said", number=number, text="x" * 200)
        log.flush()
        assert log.failing()
        assert "mcp_log_dropped_total" in metrics.exposition().decode()
        os.set_blocking(source, False)
        data = b""
        while log.failing() or b"lines of the log were lost" not in data:
            try:
                data += os.read(source, 1 << 20)
            except BlockingIOError:
                log.flush()
        log.set_up(kind, stream=io.StringIO())
        assert not log.failing()
    os.close(source)
