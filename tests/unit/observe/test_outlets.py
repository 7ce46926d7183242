"""Where the audit's lines go: what cannot take them holds up nobody, and no line makes another unreadable."""

import asyncio
import contextlib
import errno
import io
import multiprocessing
import os
import resource
import select
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mcp_server.observe.audit import AuditLog, Decision, beside
from mcp_server.observe.writing.outlets import RotatingFile, outlet
from mcp_server.observe.writing.writer import MAX_GATHERED, LineWriter, Watcher
from tests.kit.outlets import Told

Unread = tuple[Callable[..., AuditLog], int]


def known(number: int, **more: Any) -> Decision:
    return Decision(number, "allow", issuer="https://i", **({"subject": "u"} | more))


def times(data: bytes) -> list[float]:
    """Each line must be JSON."""
    return [msgspec.json.decode(line)["time"] for line in data.splitlines()]


async def until(audit: AuditLog, *, failing: bool) -> None:
    async with asyncio.timeout(60):
        while audit.failing is not failing:
            await asyncio.wait([asyncio.ensure_future(asyncio.to_thread(lambda: None))])


async def drained(audit: AuditLog, source: int) -> bytes:
    """All that comes until every line is written."""
    data = bytearray()
    async with asyncio.timeout(60):
        while audit.failing or audit._known.size or select.select([source], [], [], 0)[0]:
            if select.select([source], [], [], 0)[0]:
                data += os.read(source, 1 << 20)
            await asyncio.sleep(0)
    return bytes(data)


@pytest.fixture(params=["stdout", "fifo"])
def unread(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Unread]:
    """The audit's target, a pipe; and its other end, which nobody reads yet."""
    monkeypatch.setattr("mcp_server.observe.writing.writer.RETRY_S", 0.01)
    if request.param == "stdout":
        source, ours = os.pipe()
        with os.fdopen(ours, "w") as out:

            def make(**more: Any) -> AuditLog:  # in the test: pytest sets its own between fixture and test
                monkeypatch.setattr(sys, "stdout", out)
                return AuditLog("-", **more)

            yield make, source
            assert os.get_blocking(ours), "the flag of a file that others have open too"
    else:
        os.mkfifo(tmp_path / "fifo")
        source = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
        yield partial(AuditLog, str(tmp_path / "fifo")), source
    os.close(source)


async def test_a_pipe_that_nobody_reads_holds_up_nobody_and_loses_nothing(unread: Unread) -> None:
    """One blocking write held the event loop, probes and all, until somebody read."""
    make, source = unread
    audit = make(on_fail="refuse")
    for number in range(5000):
        audit.write(known(number))
    await until(audit, failing=True)
    assert audit.refuses
    audit.write(known(5000))
    assert times(await drained(audit, source)) == list(range(5001))
    assert not audit.refuses
    audit.close()


async def test_a_reader_that_is_behind_is_no_failure_and_loses_nothing_at_the_end(unread: Unread) -> None:
    make, source = unread
    audit = make()
    for number in range(2000):
        audit.write(known(number))

    def read() -> bytes:
        data = b""
        while data.count(b"\n") < 2000:
            select.select([source], [], [])
            data += os.read(source, 1 << 16)
        return data

    reading = asyncio.get_running_loop().run_in_executor(None, read)
    audit.close()
    assert times(await reading) == list(range(2000))
    assert not audit.failing


async def test_a_line_longer_than_a_pipe_takes_at_once_arrives(unread: Unread) -> None:
    make, source = unread
    audit = make()
    audit.write(known(1, subject="x" * 3 * select.PIPE_BUF))
    audit.write(known(2))
    audit.close()
    assert times(os.read(source, 1 << 16)) == [1, 2]


async def test_a_fifo_is_opened_without_a_reader_and_written_when_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`open` waited for the reader, and the server did not start."""
    monkeypatch.setattr("mcp_server.observe.writing.writer.RETRY_S", 0.01)
    os.mkfifo(tmp_path / "fifo")
    audit = AuditLog(str(tmp_path / "fifo"))
    for turn in range(2):  # the second time its reader has gone away
        audit.write(known(turn))
        audit.flush()
        assert audit.failing
        source = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
        assert times(await drained(audit, source)) == [turn]
        os.close(source)
    audit.close()


def test_lines_of_workers_that_share_a_pipe_are_not_mixed(tmp_path: Path) -> None:
    """Writes of 64 KiB were: 709 of 52151 lines were no JSON."""
    os.mkfifo(tmp_path / "fifo")
    source = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    start = multiprocessing.get_context("spawn")
    workers = [start.Process(target=_write_many, args=(str(tmp_path / "fifo"),)) for _ in range(2)]
    for worker in workers:
        worker.start()
    data, ended = bytearray(), False
    while not ended:
        ended = not any(worker.is_alive() for worker in workers)  # first: what they wrote until then is read below
        with contextlib.suppress(BlockingIOError):
            while select.select([source], [], [], 0.1)[0] and (part := os.read(source, 5000)):
                data += part
    os.close(source)
    assert sorted(times(bytes(data))) == sorted([*range(4000)] * 2)


def _write_many(path: str) -> None:
    async def write() -> None:
        audit = AuditLog(path)
        for number in range(4000):
            audit.write(known(number, subject="u" * (number % 700)))
            await asyncio.sleep(0)
        audit.close()

    asyncio.run(write())


@pytest.mark.parametrize("stdout", [None, io.StringIO()])
async def test_without_standard_output_no_call_fails_but_it_is_known(
    stdout: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`>&-`: with 64 KiB of lines the AttributeError came out of a call."""
    monkeypatch.setattr(sys, "stdout", stdout)
    audit = AuditLog("-", on_fail="refuse")
    audit.write(known(1, subject="x" * MAX_GATHERED))
    audit.flush()
    assert audit.refuses
    audit.close()


def denied(*_: object) -> None:
    raise PermissionError(errno.EPERM, "Operation not permitted")


@contextlib.contextmanager
def room(size: int) -> Iterator[None]:
    """No file of this process may be larger, as on a full disk: the write that reaches it ends half way."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_half_a_line_on_a_full_disk_is_taken_back_and_spoils_no_other_workers_line(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    one, other = (LineWriter(outlet(path, max_bytes=1 << 20, keep=1), Watcher()) for _ in range(2))
    with room(100):
        for number in range(9):
            one.put(b'{"time":%d,"subject":"one"}' % number)
        one.flush()
    assert one.failure
    assert len(times(path.read_bytes())) == 3
    other.put(b'{"time":100}')
    other.flush()
    one.flush()
    assert times(path.read_bytes()) == [0, 1, 2, 100, *range(3, 9)]
    assert not one.failure
    one.close()
    other.close()


def test_half_a_line_of_a_killed_worker_spoils_no_line_behind_it(tmp_path: Path) -> None:
    """Before this one opens the file, and while it has it open."""
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b'{"a":1}\n{"ha')
    file = RotatingFile(path, max_bytes=1000, keep=1)
    file.write(bytearray(b'{"b":2}\n'), 0)
    with path.open("ab") as other:
        other.write(b'{"lf')
    file.write(bytearray(b'{"c":3}\n{"d":4}\n'), 0)
    file.close()
    assert path.read_bytes().splitlines() == [b'{"a":1}', b'{"ha', b'{"b":2}', b'{"lf', b'{"c":3}', b'{"d":4}']


def test_a_line_that_another_worker_is_writing_is_not_half_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file is as long as what is written of it so far: ended here, an empty line stood behind the other's."""
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b'{"a":1}\n{"b"')
    pread = os.pread

    def meanwhile(fd: int, length: int, offset: int) -> bytes:
        seen = pread(fd, length, offset)
        if seen != b"\n":
            with path.open("ab") as other:
                other.write(b":2}\n")
        return seen

    monkeypatch.setattr(os, "pread", meanwhile)
    file = RotatingFile(path, max_bytes=1000, keep=1)
    file.write(bytearray(b'{"c":3}\n'), 0)
    file.close()
    assert path.read_bytes() == b'{"a":1}\n{"b":2}\n{"c":3}\n'


async def test_half_a_line_that_cannot_be_taken_back_is_a_line_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that may only grow (`chattr +a`)."""
    monkeypatch.setattr(os, "ftruncate", denied)
    path = tmp_path / "audit.jsonl"
    sink = LineWriter(outlet(path, max_bytes=1 << 20, keep=1), Watcher())
    with room(20):
        sink.put(b'{"time":1}')
        sink.put(b'{"time":2}')
        sink.flush()
    sink.flush()
    assert path.read_bytes().splitlines() == [b'{"time":1}', b'{"time":2', b'{"time":2}']
    sink.close()


def test_half_a_line_that_cannot_be_taken_back_is_told_once_as_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its end, which would part it from the next line, was counted as a line, too."""
    monkeypatch.setattr(os, "ftruncate", denied)
    told = Told()
    sink = LineWriter(outlet(tmp_path / "audit.jsonl", max_bytes=1 << 20, keep=1), told)
    with room(20):
        for line in (b'{"time":1}', b'{"time":2}', b'{"time":3}'):
            sink.put(line)
        sink.close()
    assert (tmp_path / "audit.jsonl").read_bytes().splitlines() == [b'{"time":1}', b'{"time":2']
    assert told.lost == 2


def test_a_file_that_cannot_be_rotated_grows_and_says_so_once(tmp_path: Path, log_file: Any) -> None:
    path = tmp_path / "audit.jsonl"
    (tmp_path / "audit.jsonl.1").mkdir()
    audit = AuditLog(str(path), max_bytes=100, keep=1, on_fail="refuse")
    for number in range(20):
        audit.write(known(number))
        audit.flush()
        assert not audit.failing
    (tmp_path / "audit.jsonl.1").rmdir()
    audit.write(known(20))
    audit.flush()
    assert times((tmp_path / "audit.jsonl.1").read_bytes()) == list(range(20))
    assert times(path.read_bytes()) == [20]
    audit.close()


def test_where_no_second_file_can_be_made_strangers_are_in_the_first(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    beside(path).mkdir()
    audit = AuditLog(str(path))
    audit.open()
    audit.write(Decision(1, "deny", "no_credentials"))
    audit.close()
    assert times(path.read_bytes()) == [1]


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="this system has no names for descriptors")
def test_what_leads_through_dev_is_never_renamed(tmp_path: Path) -> None:
    """/dev/stdout with a file behind it: root's rotation renamed the device, all others could not start."""
    link, behind = tmp_path / "audit.jsonl", tmp_path / "behind"
    with behind.open("w") as held:
        link.symlink_to(f"/dev/fd/{held.fileno()}")
        audit = AuditLog(str(link), max_bytes=100, keep=1)
        for number in range(20):
            audit.write(known(number))
        audit.close()
    assert times(behind.read_bytes()) == list(range(20))
    assert sorted(one.name for one in tmp_path.iterdir()) == ["audit.jsonl", "behind"]


def test_strangers_lines_alone_refuse_nobody(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    audit = AuditLog(str(path), on_fail="refuse")
    beside(path).mkdir()
    audit.write(Decision(1, "deny", "no_credentials"))
    audit.flush()
    assert audit.failing
    assert not audit.refuses
    beside(path).rmdir()
    audit.close()
