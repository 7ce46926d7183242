"""A writer thread with a bounded queue: what cannot take lines holds up the thread alone, never who writes them."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

from mcp_server.forking import renew_in_children

MAX_GATHERED: Final = 512 * 1024
MAX_KEPT: Final = 8 * 1024 * 1024
"""Bytes of lines that wait while they cannot be written; the oldest are kept, for what began it is among them."""
RETRY_S: Final = 1.0
"""After a failure; and how long a pipe may take nothing before that is one."""
STALL_S: Final = 5.0
"""A write that takes longer counts as failing: a network's disk may hold it for minutes, and says nothing meanwhile."""
CLOSE_S: Final = 2.0
"""How long the end waits for a reader that is behind."""


class Outlet(Protocol):
    """Where lines go (`outlets.py`)."""

    def open(self) -> None:
        """Open it now; raises `OSError`."""

    def write(self, lines: bytearray, wait_s: float) -> None:
        """Write and take away from the front; raises `OSError`, and `BlockingIOError` for who takes nothing."""

    def close(self) -> None:
        """Let it go; a line that comes later opens it again."""


class Watcher:
    """Whoever wants to know how a writer fares; called in its thread where there is one, but for `dropped`."""

    def failed(self, reason: str, *, first: bool) -> None:
        """A write failed; its lines are kept. `first` after those that did not."""

    def recovered(self) -> None:
        """Lines are written again."""

    def dropped(self, lines: int, reason: str = "") -> None:
        """Lines are lost: the queue is full, or it is the end and they cannot be written for a `reason`."""

    def queued(self, size: int) -> None:
        """So many bytes wait after a write."""

    def more(self, lines: int) -> bytes | None:
        """The line that stands for those that were dropped."""
        return None


class LineWriter:
    """Lines are queued, gathered for `gather_s` or `MAX_GATHERED` bytes, and written by a thread of its own.

    What cannot be written (a full disk, a pipe that nobody reads, a folder that went away) is kept up to `MAX_KEPT`
    bytes and tried again every `RETRY_S`. `seal` gets all lines, some at a time, in the order in which they
    are written, and takes them away to those that are ready, all or none. A writer that is not `threaded` writes in who
    calls it, and only what can be written at once: for a process that forks, in which a thread may hold a lock that
    stays held in the child for ever.
    """

    failure = ""
    """Why the last write failed."""

    def __init__(
        self,
        outlet: Outlet,
        watcher: Watcher,
        *,
        gather_s: float = 0.0,
        seal: Callable[[list[bytearray], bytearray], None] | None = None,
        threaded: bool = True,
    ) -> None:
        self._outlet, self._watcher, self._seal = outlet, watcher, seal
        self._gather_s, self._threaded, self._may_wait_s = gather_s, threaded, 0.0
        self._has_thread: Final = threaded
        self._begin()
        renew_in_children(self)

    def begin_anew(self) -> None:
        """In a forked child what waits is the parent's to write, and lines are written by who calls.

        It may end without a word (`os._exit`), as those of `multiprocessing` do, and with it what a thread has queued.
        So who calls waits for a reader that is behind, as a thread would; one that opens it will close it, too.
        """
        self._threaded, self._may_wait_s = False, RETRY_S
        self._begin()

    def _begin(self) -> None:
        """An empty queue."""
        # Of the same thread a lock must let in again: a finalizer may log wherever memory is allocated.
        # Taken by itself, not by its condition, between whose own steps, Python's, a signal's handler may raise.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._lines = bytearray()
        """What is queued, each line with its end: in one piece, for each line's own memory would be a fresh one."""
        self._sealing = [bytearray()]
        """What is taken out to be sealed, in a list that `seal` gives others; it stays here while that fails."""
        self._ready = bytearray()
        self._thread: threading.Thread | None = None
        self._awake = self._hurry = self._over = self._behind = False
        self._busy_since: float | None = None
        self._attempts = self._lost = 0
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[bool]]] = []
        """Who waits for lines that are queued."""
        self._taken: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[bool]]] = []
        """Who waits for lines that are being written: after them there may be nothing to write for long."""

    def open(self) -> None:
        """Open the outlet now, so that a path that cannot be used is an error at the start: it is an `OSError`.

        A server that was made before it was forked is opened, and closed, by its workers: each has a thread for it.
        """
        self._outlet.open()
        self._threaded = self._has_thread

    @property
    def size(self) -> int:
        """Bytes that wait."""
        return len(self._lines) + len(self._sealing[0]) + len(self._ready)

    @property
    def failing(self) -> bool:
        """Whether lines cannot be written, or were lost since some were."""
        since = self._busy_since
        return bool(self.failure or self._lost) or (since is not None and time.monotonic() - since > STALL_S)

    def put(self, line: bytes, *, at_once: bool = False) -> bool:
        """Queue a line, from whatever thread, if there is room; `at_once` gathers no others with it."""
        begins = False
        with self._lock:
            kept = len(self._lines) + len(line) + len(self._sealing[0]) + len(self._ready) < MAX_KEPT
            if kept:
                # No sooner: a line that comes in between may have these written, where no thread is.
                lines = self._lines
                lines += line + b"\n"  # at once: were there no memory for its end, the next line would go on with it
                if not self._awake or self._thread is None:
                    begins = self._wake()
                if (len(lines) >= MAX_GATHERED or at_once) and not self._hurry and not self.failure:
                    self._hurry = True
                    self._changed.notify_all()
            else:
                self._lost += 1
        if begins:
            self._start()
        if not kept:
            self._watcher.dropped(1)
        elif not self._threaded:
            while self._attempt(0.0 if self.failure else self._may_wait_s) and self._lines and not self.failure:
                pass  # what came meanwhile, of another thread or of a finalizer
        return kept

    async def written(self) -> bool:
        """Wait until what is queued has been written, or could not be within `RETRY_S`; whether it was."""
        loop = asyncio.get_running_loop()
        with self._lock:
            if not self.size and self._busy_since is None:
                return True
            if self.failing:
                return False
            tried: asyncio.Future[bool] = loop.create_future()
            (self._waiting if self._lines else self._taken).append((loop, tried))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RETRY_S):
                return await tried
        return False

    def flush(self, wait_s: float = CLOSE_S) -> bool:
        """Try to write what is queued, and wait so long at most; whether all is written."""
        until = time.monotonic() + wait_s
        begins = False
        if not self._threaded:
            while self._attempt(wait_s) and self._lines and not self.failure and time.monotonic() < until:
                pass  # as in `put`
        with self._lock:
            goal = self._attempts + (1 if self._busy_since is None else 2)
            self._hurry = bool(self.size)
            if self.size:
                begins = self._wake()
        if begins and not self._start():
            self._attempt(wait_s)
        with self._lock:
            while self._threaded and self._attempts < goal and (self.size or self._busy_since is not None):
                left_s = until - time.monotonic()
                if left_s <= 0 or not self._changed.wait(left_s):
                    break
            return not self.size and self._busy_since is None

    def close(self, wait_s: float = CLOSE_S) -> None:
        """Write the rest, end the thread and let the outlet go; a line that comes later begins anew."""
        until = time.monotonic() + wait_s
        while not self.flush(max(0.0, until - time.monotonic())) and time.monotonic() < until and self._can_go_on:
            pass
        stuck = False
        try:
            stuck, thread, left = self._give_up()
            if thread is not None and thread.is_alive() and not stuck:
                thread.join(max(RETRY_S, until - time.monotonic()))
                stuck = thread.is_alive()
                if left:  # it has been tried
                    self._give_up()
            if not stuck:  # else the thread ends with the process, and nobody waits for it
                self._outlet.close()
        finally:
            begins = False
            with self._lock:
                self._over = False
                if self.size and not stuck:  # it came meanwhile
                    begins = self._wake()
            if begins:
                self._start()

    def end(self, wait_s: float) -> None:
        """Close it; what comes later is written by who calls, for no thread outlives the interpreter."""
        self.close(wait_s)
        self._threaded = False

    @property
    def _can_go_on(self) -> bool:
        """Whether what is left may be written soon: it was behind, or came meanwhile."""
        return self._behind or (self._threaded and not self.failure)

    def _give_up(self) -> tuple[bool, threading.Thread | None, bool]:
        """Tell what is lost with the end; whether a write does not come back, the thread, and whether it has some left.

        What came meanwhile is tried by the thread first.
        """
        waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[bool]]] = []
        with self._lock:
            stuck, thread = self._busy_since is not None, self._thread
            lost, reason = 0, self.failure or "a write does not come back"
            if stuck or self.failure or not self._threaded:
                # The end of a torn half, which an outlet may have put in front, is no line.
                lost = self._ready.removeprefix(b"\n").count(b"\n")
                lost += self._lines.count(b"\n") + self._sealing[0].count(b"\n")
            if not stuck:
                if lost:
                    self._lines, self._sealing, self._ready = bytearray(), [bytearray()], bytearray()
                    waiting, self._waiting = self._waiting, []  # of lines that the next write does not have
                self._lost, self.failure = 0, ""
                self._over = True
                self._changed.notify_all()
            left = bool(self.size)
        _tell(waiting, done=False)
        if lost:
            self._watcher.dropped(lost, reason)
        return stuck, thread, left

    def _wake(self) -> bool:
        """Have the thread look, in the lock; whether one is to be started behind it, for there is none."""
        if not self._threaded:
            return False
        self._changed.notify_all()
        self._awake = True  # no sooner: a signal's handler may raise in a call, and no later line would wake it
        return self._thread is None and not self._over  # else the outlet is being closed

    def _start(self) -> bool:
        """Start a thread, not in the lock: a finalizer may log in it before it says that it runs, for which this waits.

        Where the system has no thread left, or a signal's handler raises meanwhile, the next line tries again.
        """
        thread = threading.Thread(target=self._run, name="line-writer", daemon=True)
        try:
            with self._lock:
                if self._thread is not None or self._over:
                    return True
                self._thread = thread
            thread.start()
        except BaseException as error:
            with self._lock:
                if self._thread is thread:  # it may run nevertheless, and ends then
                    self._thread, self._awake = None, False
            if not isinstance(error, RuntimeError):
                raise
            self._settle(error)
            return False
        return True

    def _run(self) -> None:
        thread = threading.current_thread()
        try:
            while self._next():
                self._attempt(RETRY_S)
        finally:  # after what ends it, too, as memory that runs out where it waits: the next line begins another
            with self._lock:
                if self._thread is thread:
                    self._thread, self._awake = None, False

    def _next(self) -> bool:
        """Wait until there is something to write, and enough of it; false at the end."""
        changed, thread = self._changed, threading.current_thread()
        with self._lock:
            while not self.size and not self._over:
                self._awake = self._hurry = False
                changed.wait()
            if self._thread is not thread:  # what started it was interrupted, and there is another
                return False
            if self._over and (self.failure or not self.size):  # what comes as it is closed is tried once
                self._hurry, self._awake, self._thread = False, False, None
                return False
            if not self._hurry and not self._over:
                changed.wait(RETRY_S if self.failure else self._gather_s)
            return True

    def _attempt(self, wait_s: float) -> bool:
        """Write what is queued, once, unless somebody is at it; where there is no thread, it may be anybody."""
        mine = False
        try:
            with self._lock:
                if self._busy_since is not None:
                    return False
                empty, now = bytearray(), time.monotonic()
                # No call from here on, where a signal's handler may raise, or have a line of its own taken out.
                self._busy_since, mine = now, True
                taken = self._ready if self._seal is None else self._sealing[0]
                taken += self._lines
                self._lines = empty
                self._hurry = False
                self._taken += self._waiting
                self._waiting = []
            if self._seal is not None:
                self._seal(self._sealing, self._ready)
            self._outlet.write(self._ready, wait_s)
        except Exception as error:  # noqa: BLE001 - whatever it is, the thread goes on: it is the only one
            self._settle(error)
        else:
            self._settle(None)
        finally:  # after what ends the process, too: a signal's handler may raise it, and more is said as it goes
            if mine:
                self._attempts += 1
                self._busy_since = None  # by no call, which a handler may raise in: it would be taken for ever
                self._tried()
        return True

    def _tried(self) -> None:
        with self._lock:
            waiting, self._taken, done = self._taken, [], not (self.failure or self._ready)
            self._changed.notify_all()
        _tell(waiting, done=done)

    def _settle(self, error: Exception | None) -> None:
        """Remember how it went, and tell; a counter or a log that fails ends no thread."""
        with contextlib.suppress(Exception):
            self._remember(error)

    def _remember(self, error: Exception | None) -> None:
        self._behind = isinstance(error, BlockingIOError)
        before, self.failure = self.failure, "" if error is None else _reason(error)
        self._watcher.queued(self.size)
        if error is not None:
            self._watcher.failed(self.failure, first=not before)
            return
        with self._lock:
            lost, self._lost = self._lost, 0
        if lost and (line := self._watcher.more(lost)) is not None:
            self.put(line)
        if before:
            self._watcher.recovered()


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else "") or type(error).__name__


def _tell(waiting: "list[tuple[asyncio.AbstractEventLoop, asyncio.Future[bool]]]", *, done: bool) -> None:
    for loop, tried in waiting:
        with contextlib.suppress(RuntimeError):  # its loop is closed
            loop.call_soon_threadsafe(_answer, tried, done)


def _answer(tried: "asyncio.Future[bool]", done: bool) -> None:
    if not tried.done():
        tried.set_result(done)
