"""A writer that a signal's handler interrupts, or memory that runs out: in no step is a line lost, doubled or held."""

import itertools
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import pytest

from mcp_server.observe.audit import chain
from mcp_server.observe.audit.chain import Chain
from mcp_server.observe.writing import writer as writer_module
from mcp_server.observe.writing.outlets import RotatingFile, Stream
from mcp_server.observe.writing.writer import LineWriter, Outlet
from tests.kit.outlets import Memory, Told


def _file(path: Path) -> RotatingFile:
    return RotatingFile(path, max_bytes=1 << 20, keep=1)


@pytest.mark.parametrize("outlet", [Stream, _file])
def test_what_a_signals_handler_raises_in_any_step_loses_and_doubles_no_line(
    tmp_path: Path, outlet: Callable[[Path], Outlet]
) -> None:
    """It comes as a function is entered, or one of C is over: so, too, behind a write of the system's that went well."""
    for place in itertools.count(1):
        (path := tmp_path / str(place)).touch()
        writer = LineWriter(outlet(path), told := Told(), threaded=False)
        interrupted = _put_interrupted(writer, place)
        queued = bool(writer.size or path.stat().st_size)
        other = threading.Thread(target=writer.put, args=(b"two",), daemon=True)  # another: the lock must be free
        other.start()
        other.join(60)
        assert not other.is_alive()
        assert (path.read_bytes(), told.lost) == (b"one\ntwo\n" if queued else b"two\n", 0), place
        writer.close(60)
        if not interrupted:
            break
    assert place > 20


class Tries(Told):
    """Knows when there was a try."""

    def __init__(self) -> None:
        super().__init__()
        self.one = threading.Event()

    def queued(self, size: int) -> None:
        self.one.set()


@pytest.mark.parametrize("first", [True, False])
def test_what_a_signals_handler_raises_as_a_line_is_queued_holds_up_no_later_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    """The thread was taken for awake, or for begun: what came later waited until the end, which may have lost it."""
    monkeypatch.setattr(writer_module, "RETRY_S", 0.01)  # the library hides it once, as if no thread were left
    for place in itertools.count(1):
        (path := tmp_path / str(place)).touch()
        writer = LineWriter(Stream(path), told := Tries())
        if not first:
            writer.put(b"zero")
            assert writer.flush(60)
        interrupted = _put_interrupted(writer, place)
        lines = b"one\ntwo\n" if writer.size or b"one" in path.read_bytes() else b"two\n"
        other = threading.Thread(target=writer.put, args=(b"two",), daemon=True)
        other.start()
        other.join(60)
        while not path.read_bytes().endswith(b"two\n"):
            assert told.one.wait(60), place
            told.one.clear()
        assert (path.read_bytes().removeprefix(b"zero\n"), told.lost) == (lines, 0), place
        writer.close(60)
        if not interrupted:
            break
    assert place > 10


def _put_interrupted(writer: LineWriter, place: int) -> bool:
    """Put a line, and raise where the interpreter looks for signals for the so manieth time; whether it came so far."""
    left = place

    def looks(_frame: object, event: str, _arg: object) -> None:
        nonlocal left
        left -= event in ("call", "c_return")
        if not left:
            raise SystemExit

    try:
        sys.setprofile(looks)
        writer.put(b"one")
    except SystemExit:
        return True
    finally:
        sys.setprofile(None)
    return False


def test_memory_that_runs_out_as_lines_are_taken_out_ends_no_writer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread ended with it, and none began: all later lines waited, and an audit that must be whole refused all."""
    monkeypatch.setattr(writer_module, "RETRY_S", 0.01)
    writer = LineWriter(outlet := Memory(), told := Told())
    fails = [MemoryError()]

    class Fresh(bytearray):
        def __init__(self) -> None:
            super().__init__()
            if fails:
                raise fails.pop()

    monkeypatch.setattr(writer_module, "bytearray", Fresh, raising=False)
    writer.put(b"one")
    writer.close(60)
    assert (bytes(outlet.taken), told.lost) == (b"one\n", 0)


def test_memory_that_runs_out_as_it_waits_has_the_next_line_begin_another_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To wait takes some: the thread ended, was taken for one that runs, and no later line was written."""
    ended = threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda _: ended.set())
    writer = LineWriter(outlet := Memory(), told := Tries())
    waits, fails = threading.Condition.wait, [MemoryError()]

    def wait(self: threading.Condition, timeout: float | None = None) -> bool:
        if fails and threading.current_thread().name == "line-writer":
            raise fails.pop()
        return waits(self, timeout)

    monkeypatch.setattr(threading.Condition, "wait", wait)
    writer.put(b"one")
    assert ended.wait(60)
    writer.put(b"two")
    while outlet.taken != b"one\ntwo\n":
        assert told.one.wait(60)
        told.one.clear()
    writer.close(60)
    assert told.lost == 0


@pytest.mark.parametrize("place", range(1, 6))
def test_a_line_for_whose_end_there_is_no_memory_is_no_part_of_the_next_one(
    monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    left = place

    class Full(bytearray):
        def __iadd__(self, more: Any) -> Self:  # type: ignore[misc]
            nonlocal left
            left -= 1
            if not left:
                raise MemoryError
            super().__iadd__(more)
            return self

    monkeypatch.setattr(writer_module, "bytearray", Full, raising=False)
    writer = LineWriter(outlet := Memory(), Told(), threaded=False)
    for line in (b"one", b"two"):
        with suppress(MemoryError):
            writer.put(line)
    writer.close(60)
    assert bytes(outlet.taken) in (b"one\ntwo\n", b"two\n", b"one\n")


def test_lines_that_cannot_be_sealed_for_want_of_memory_are_sealed_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """They were lost without a word, and the chain had a gap, which says that somebody took them away."""
    monkeypatch.setattr(writer_module, "RETRY_S", 0.01)
    fails = [MemoryError()]

    def mac(key: bytes, linked: bytes) -> str:
        if fails and b'"seq":2' in linked:
            raise fails.pop()
        return real(key, linked)

    real = chain.mac
    monkeypatch.setattr(chain, "mac", mac)
    writer = LineWriter(outlet := Memory(), told := Told(), gather_s=60, seal=Chain(b"k" * 32, lambda: ()).seal)
    for number in range(4):
        writer.put(b'{"n":%d}' % number)
    while not writer.flush(60):
        pass
    writer.close(60)
    links = [link for link in map(chain.read, bytes(outlet.taken).splitlines()) if link]
    assert ([link.seq for link in links], fails, told.lost) == ([0, 1, 2, 3], [], 0)
    assert [link.prev for link in links[1:]] == [link.mac for link in links[:-1]]


def test_no_line_is_written_twice_where_there_is_no_memory_to_take_it_away(tmp_path: Path) -> None:
    """A short `bytearray` gets memory of its own to become shorter: sealed, and written, a line was there once more."""
    testing = pytest.importorskip("_testcapi", reason="CPython's own tests fail an allocation")
    for place in itertools.count():
        path = tmp_path / str(place)
        writer = LineWriter(_file(path), Told(), seal=Chain(b"k" * 32, list).seal, threaded=False)
        writer.put(b'{"n":0}')
        traced = sys.gettrace()
        with suppress(MemoryError):
            try:
                sys.settrace(None)  # what measures coverage takes memory between any two lines, and fails there
                testing.set_nomemory(place, place + 1)
                writer.put(b'{"n":1}')
            finally:
                testing.remove_mem_hooks()
                sys.settrace(traced)
        whole = not writer.failure and b'"n":1' in path.read_bytes()
        writer.put(b'{"n":2}')
        writer.close(60)
        lines = path.read_bytes().splitlines()
        assert [link.seq for link in map(chain.read, lines) if link] == list(range(len(lines))), place
        assert len({line[:8] for line in lines}) == len(lines), place
        if whole and place > 200:
            break


def test_what_is_raised_as_a_file_is_rotated_writes_into_no_other_file(tmp_path: Path) -> None:
    """Closed, and its number still known: that is the next file's, or connection's, of anybody."""
    for place in itertools.count(1):
        path, victim = tmp_path / f"{place}.jsonl", tmp_path / "victim"
        writer = LineWriter(RotatingFile(path, max_bytes=4, keep=1), Told(), threaded=False)
        writer.put(b"zero")
        interrupted = _put_interrupted(writer, place)
        with victim.open("w"):
            writer.put(b"two")
        assert victim.read_bytes() == b"", place
        writer.close(60)
        if not interrupted:
            break
    assert place > 20
