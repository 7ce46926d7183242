"""The end of a writer: what comes meanwhile is written or told as lost, and nothing holds it."""

import asyncio
import threading
from collections.abc import Callable

import pytest

from mcp_server.observe.writing import writer as writer_module
from mcp_server.observe.writing.writer import LineWriter, Watcher
from tests.kit.backends import settle
from tests.kit.outlets import Memory, Told


class Speaks(Told):
    """Has something to say once, as the first lines have been written."""

    def __init__(self, speak: Callable[[], object]) -> None:
        super().__init__()
        self._speak: Callable[[], object] | None = speak

    def queued(self, size: int) -> None:
        speak, self._speak = self._speak, None
        if speak is not None:
            speak()


def test_what_comes_as_it_is_closed_does_not_hold_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was tried again and again, for as long as it could not be written, and the end waited for that."""
    monkeypatch.setattr(writer_module, "RETRY_S", 60)
    outlet = Memory()

    class Late(Told):
        def dropped(self, lines: int, reason: str = "") -> None:
            super().dropped(lines)
            assert writer.put(b"late")

    told = Late()
    writer = LineWriter(outlet, told)
    outlet.error = OSError(28, "No space left on device")
    writer.put(b"one")
    writer.flush(60)
    closing = threading.Thread(target=writer.close, args=(0,), daemon=True)
    closing.start()
    closing.join(60)
    assert not closing.is_alive()
    assert (told.lost, outlet.closed) == (1, 1)
    outlet.error = None
    assert writer.flush(60)
    assert outlet.taken == b"late\n"
    writer.close(60)


def test_a_line_that_comes_while_the_last_are_written_is_written_before_the_end() -> None:
    """It was thrown away as one whose write does not come back, and whoever waited for it was told that it is there."""
    outlet, told = Memory(), Speaks(lambda: writer.put(b"two"))
    writer = LineWriter(outlet, told, gather_s=600)
    writer.put(b"one")
    writer.close(60)
    assert (bytes(outlet.taken), told.lost) == (b"one\ntwo\n", 0)


def test_a_watcher_that_fails_as_lines_are_lost_ends_no_writer() -> None:
    outlet = Memory()

    class Fails(Watcher):
        def dropped(self, lines: int, reason: str = "") -> None:
            if (thread := writer._thread) is not None:
                thread.join(60)
            raise ValueError(reason)

    writer = LineWriter(outlet, Fails())
    outlet.error = OSError(28, "No space left on device")
    writer.put(b"one")
    with pytest.raises(ValueError, match="No space"):
        writer.close(0.01)
    outlet.error = None
    writer.put(b"two")
    assert writer.flush(60)
    assert outlet.taken == b"two\n"
    writer.close(60)


def test_an_end_is_held_by_no_write_of_what_came_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "RETRY_S", 0.01)
    outlet = Memory()
    writer = LineWriter(outlet, Told())
    give_up = writer._give_up

    def meanwhile() -> tuple[bool, threading.Thread | None, bool]:
        with writer._changed:  # the thread sees the end and the line at once
            found = give_up()
            outlet.gate.clear()
            writer.put(b"two")
        return found

    monkeypatch.setattr(writer, "_give_up", meanwhile)
    writer.put(b"one")
    writer.close(0.05)
    assert (bytes(outlet.taken), outlet.closed) == (b"one\n", 0)
    monkeypatch.undo()
    outlet.gate.set()
    writer.close(60)
    assert (bytes(outlet.taken), outlet.closed) == (b"one\ntwo\n", 1)


@pytest.mark.parametrize("stalls", [False, True])
def test_what_comes_before_it_gives_up_and_cannot_be_written_is_told_as_lost(
    monkeypatch: pytest.MonkeyPatch, *, stalls: bool
) -> None:
    """It was kept, by a thread of its own, and the process ended: nobody was told."""
    monkeypatch.setattr(writer_module, "RETRY_S", 0.01)
    outlet, told = Memory(), Told()

    class Closing(LineWriter):
        def _give_up(self) -> tuple[bool, threading.Thread | None, bool]:
            with self._changed:
                if not outlet.error:
                    outlet.error = OSError(28, "No space left on device")
                    self.put(b"two")
                    if stalls:
                        outlet.gate.clear()
                return super()._give_up()

    writer = Closing(outlet, told)
    writer.put(b"one")
    writer.close(0.05 if stalls else 60)
    assert (bytes(outlet.taken), outlet.closed, told.lost) == (b"one\n", not stalls, 1)
    outlet.gate.set()
    writer.close(60)
    assert writer.size == 0


async def test_who_waits_for_a_line_that_is_given_up_is_not_told_of_the_next() -> None:
    """The disk was full, and is not when the next line comes: that one's write told who waited for the lost one."""
    outlet, told, ended, goes_on = Memory(), Told(), threading.Event(), threading.Event()

    class Preempted(LineWriter):
        def _next(self) -> bool:
            if self.failure:  # between its attempt and its next look
                ended.set()
                goes_on.wait()
            return super()._next()

        def _give_up(self) -> tuple[bool, threading.Thread | None, bool]:
            found = super()._give_up()
            goes_on.set()
            return found

    writer = Preempted(outlet, told)
    outlet.error = OSError(28, "No space left on device")
    outlet.gate.clear()
    writer.put(b"one")
    outlet.inside.wait()
    writer.put(b"two")
    waiting = asyncio.create_task(writer.written())
    await settle(1)
    outlet.gate.set()
    ended.wait()
    writer.close(0)
    outlet.error = None
    writer.put(b"three")
    assert not await waiting
    assert told.lost == 2
    writer.close(60)
    assert outlet.taken == b"three\n"


def test_without_a_thread_a_line_that_comes_meanwhile_is_written_once() -> None:
    """Of another thread, or of a finalizer: each wrote what the other had just written, and took it away again."""
    writer = LineWriter(outlet := Memory(), Told(), threaded=False)

    def write(lines: bytearray, _wait_s: float) -> None:
        outlet.taken += lines
        if outlet.taken == b"one\n":
            (other := threading.Thread(target=writer.put, args=(b"two",))).start()
            other.join(60)
            writer.put(b"three")
        lines.clear()

    outlet.write = write  # type: ignore[method-assign, assignment]
    writer.put(b"one")
    writer.put(b"four")
    assert outlet.taken == b"one\ntwo\nthree\nfour\n"


def test_without_a_thread_a_line_that_comes_as_another_is_queued_is_lost_by_neither() -> None:
    """A signal's handler may log between any two steps: it had the queue written, to which the other was added then."""
    writer = LineWriter(outlet := Memory(), told := Told(), threaded=False)

    class Measured(bytes):
        def __len__(self) -> int:
            writer.put(b"two")
            return super().__len__()

    writer.put(Measured(b"one"))
    assert (bytes(outlet.taken), told.lost) == (b"two\none\n", 0)


def test_without_a_thread_a_line_that_comes_as_others_are_taken_out_doubles_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    writer = LineWriter(outlet := Memory(), told := Told(), threaded=False)
    speak = [b"two"]

    class Fresh(bytearray):
        def __init__(self) -> None:
            super().__init__()
            if speak:
                writer.put(speak.pop())

    monkeypatch.setattr(writer_module, "bytearray", Fresh, raising=False)
    writer.put(b"one")
    assert (bytes(outlet.taken), told.lost) == (b"one\ntwo\n", 0)


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
def test_what_is_said_after_a_write_that_a_signal_interrupted_is_written(end: type[BaseException]) -> None:
    """The process ends with it, and tells how; its write counted as one that does not come back."""
    writer = LineWriter(outlet := Memory(), told := Told(), threaded=False)
    write = outlet.write

    def interrupted(_lines: bytearray, _wait_s: float) -> None:
        outlet.write = write  # type: ignore[method-assign]
        raise end

    outlet.write = interrupted  # type: ignore[method-assign, assignment]
    with pytest.raises(end):
        writer.put(b"one")
    writer.put(b"two")
    writer.close(60)
    assert (bytes(outlet.taken), told.lost) == (b"one\ntwo\n", 0)


def test_without_a_thread_a_line_that_comes_while_the_last_are_written_is_no_lost_one() -> None:
    """It was given up as one whose write does not come back."""
    writer = LineWriter(outlet := Memory(), told := Told(), threaded=False)
    outlet.error = OSError(28, "No space left on device")
    writer.put(b"one")
    outlet.error = None
    write = outlet.write

    def speaks(lines: bytearray, wait_s: float) -> None:
        outlet.write = write  # type: ignore[method-assign]
        write(lines, wait_s)
        writer.put(b"two")

    outlet.write = speaks  # type: ignore[method-assign]
    writer.close(60)
    assert (bytes(outlet.taken), told.lost) == (b"one\ntwo\n", 0)


def test_a_writer_that_found_no_thread_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container bounds them; no line was written any more, and nobody knew."""

    def none_left(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    writer = LineWriter(outlet := Memory(), told := Told())
    with monkeypatch.context() as bounded:
        bounded.setattr(threading.Thread, "start", none_left)
        assert writer.put(b"one")
        assert writer.failing
        assert writer.flush(60)  # by who waits for it
        assert writer.put(b"two")
    assert (bytes(outlet.taken), writer.failing) == (b"one\n", True)
    writer.put(b"three")
    assert writer.flush(60)
    assert (bytes(outlet.taken), writer.failing, told.lost) == (b"one\ntwo\nthree\n", False, 0)
    writer.close(60)


def test_the_thread_may_log_before_it_says_that_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Garbage may be collected there: its finalizer waited for who waited for the thread."""
    writer = LineWriter(outlet := Memory(), Told())
    run = threading.Thread._bootstrap_inner  # type: ignore[attr-defined]

    def begins(thread: threading.Thread) -> None:
        if thread.name == "line-writer":
            writer.put(b"two")
        run(thread)

    monkeypatch.setattr(threading.Thread, "_bootstrap_inner", begins)
    (first := threading.Thread(target=writer.put, args=(b"one",), daemon=True)).start()
    first.join(60)
    assert not first.is_alive()
    assert writer.flush(60)
    assert sorted(bytes(outlet.taken).splitlines()) == [b"one", b"two"]
    writer.close(60)


def test_what_comes_after_the_end_is_written_by_who_says_it() -> None:
    """No thread outlives the interpreter, and others may log in an `atexit` of theirs."""
    writer = LineWriter(outlet := Memory(), Told())
    writer.put(b"one")
    writer.end(60)
    writer.put(b"two")
    assert outlet.taken == b"one\ntwo\n"
