"""The thread pool of sync handlers: a stated size, a share of it for each caller, in turn where there are too few.

Not asyncio's default executor: that one has as many threads as the machine has cores and four more, one caller can
have them all, and a process that ends waits for every thread that still blocks.
"""

import asyncio
import contextlib
import contextvars
import queue
import threading
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final, TypeAlias

from mcp_server.limits.concurrency import ConcurrencyLimiter, Place
from mcp_server.observe.log import logger

DEFAULT_SIZE: Final = 40
ANYBODY: Final = "anybody"
"""Whose work it is where there is one caller, as on stdio: the pool is all its own."""
_UNFIT: Final = (StopIteration, SystemExit, KeyboardInterrupt, GeneratorExit)
"""No Future takes StopIteration, so that whoever waits would wait for ever; the others end the loop that meets them."""
STOPPING: Final = "the server is stopping"


class Blocking:
    """Where the sync handlers of one call run: the pool, whose share of it they take, and how many are waited for."""

    __slots__ = ("place", "threads", "working")

    def __init__(self, threads: "Threads", place: Place | None) -> None:
        self.threads, self.place = threads, place
        self.working = 0

    def begin(self) -> "Blocking":
        """The call's own code begins now."""
        if self.place is not None:
            self.place.began = True
        return self


current: ContextVar[Blocking] = ContextVar("mcp_server.blocking")
"""Of the call that is being answered; a task begun by it inherits it."""


async def run(work: Callable[[], Any]) -> Any:
    """Run what may block in the pool of this call; its caller's slot is kept until the thread is done."""
    where = current.get()
    where.working += 1
    try:
        return await where.threads.run(work, where.place)
    finally:
        where.working -= 1


class _Job:
    __slots__ = ("answer", "context", "jobs", "loop", "place", "who", "work")

    def __init__(self, work: Callable[[], Any], place: Place | None) -> None:
        self.work, self.place = work, place
        self.who = ANYBODY if place is None else place.who
        self.loop = asyncio.get_running_loop()
        self.context = contextvars.copy_context()
        self.answer: asyncio.Future[Any] = self.loop.create_future()
        self.jobs: _Jobs | None = None
        """Where it was handed to a thread; None while it waits."""

    def release(self) -> None:
        """Give its caller's slot back, once."""
        place, self.place = self.place, None
        if place is not None:
            place.release()


_Jobs: TypeAlias = "queue.SimpleQueue[_Job | None]"


class Threads:
    """A fair thread pool. A caller has at most half of its threads; beyond that, and when all are busy, jobs wait.

    All but `_serve` happens on the loop's thread. Threads are made as they are needed and are daemons: one that blocks
    for ever does not keep the process from ending.
    """

    def __init__(self, size: int = DEFAULT_SIZE) -> None:
        self._size = size
        self.start()

    def start(self) -> None:
        """Begin, once more where it has been stopped: what still blocks a thread of the last life counts no more."""
        self._limiter = ConcurrencyLimiter(max(1, self._size // 2), self._size, whole=ANYBODY)
        self._jobs: _Jobs = queue.SimpleQueue()
        self._waiting: dict[str, deque[_Job]] = {}
        self._threads = self._running = 0
        self._stopped = False
        self._begun: set[_Job] = set()

    async def run(self, work: Callable[[], Any], place: Place | None = None) -> Any:
        """What `work` returns or raises; who is cancelled meanwhile leaves a thread behind that goes on."""
        if self._stopped:
            raise RuntimeError(STOPPING)
        job = _Job(work, place)
        if not (self._limiter.acquire(job.who) and self._begin(job)):
            self._waiting.setdefault(job.who, deque()).append(job)
        if place is not None:
            place.hold()
        try:
            return await job.answer
        finally:
            self._forget(job)
            del job  # whose answer may be an exception that has this frame in its traceback

    def stop(self) -> None:
        """No job begins any more; idle threads end, one that blocks ends with its handler or with the process."""
        self._stopped = True
        for job in [job for jobs in self._waiting.values() for job in jobs]:
            self._forget(job)
            if not job.answer.done():
                job.answer.set_exception(RuntimeError(STOPPING))
        for job in self._begun:  # the loop to which they would give their slots back may be closed by then
            job.release()
        self._begun.clear()
        for _ in range(self._threads):
            self._jobs.put(None)

    def _begin(self, job: _Job) -> bool:
        """Hand a job whose share is taken to a thread, a new one where all are busy; False gives the share back.

        A machine may have no room for another thread (a container's pids limit): then the job waits for those there
        are, and where there is none it fails. A thread is counted when it has started, not before: else a moment
        without room would take places from the pool for good.
        """
        if self._running == self._threads:
            try:
                threading.Thread(
                    target=self._serve, args=(self._jobs,), name=f"handler-{self._threads + 1}", daemon=True
                ).start()
            except RuntimeError as error:
                self._limiter.release(job.who)
                logger.warning("no thread can be started", reason=str(error), threads=self._threads)
                if not self._threads:
                    raise
                return False
            self._threads += 1
        self._running += 1
        job.jobs = self._jobs
        self._begun.add(job)
        self._jobs.put(job)
        return True

    def _serve(self, jobs: _Jobs) -> None:
        while (job := jobs.get()) is not None:
            value, error = _done(job.context, job.work)
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                job.loop.call_soon_threadsafe(self._ended, job, value, error)
            del job, value, error  # an idle thread keeps nothing alive

    def _ended(self, job: _Job, value: Any, error: BaseException | None) -> None:
        self._begun.discard(job)
        job.release()
        if not job.answer.done():
            if error is None:
                job.answer.set_result(value)
            else:
                job.answer.set_exception(error)
        if job.jobs is self._jobs:  # not of a life before this one
            self._running -= 1
            self._limiter.release(job.who)
            self._next()

    def _next(self) -> None:
        """Begin what may begin now, one job of each caller in turn."""
        for who in list(self._waiting):
            if self._stopped or not self._limiter.acquire(who):
                continue
            if not self._begin(self._waiting[who][0]):
                return
            jobs = self._waiting.pop(who)
            jobs.popleft()
            if jobs:
                self._waiting[who] = jobs  # stands last now

    def _forget(self, job: _Job) -> None:
        """A job that was cancelled before it began never will."""
        jobs = self._waiting.get(job.who)
        if jobs is None or job not in jobs:
            return
        jobs.remove(job)
        if not jobs:
            del self._waiting[job.who]
        job.release()


def _in_place_of(error: BaseException) -> RuntimeError:
    failed = RuntimeError(f"the handler raised {type(error).__name__}")
    failed.__cause__ = error
    return failed


def _done(context: contextvars.Context, work: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    """What came of a job. What would end a thread, or hang or end the loop, fails the call instead.

    Not of the job itself: an exception has this frame in its traceback, and the job would have the exception. Nor is
    what stands for it of this frame: it would be a circle, with the handler's arguments in it.
    """
    try:
        return context.run(work), None
    except _UNFIT as error:
        return None, _in_place_of(error)
    except BaseException as error:  # noqa: BLE001 - it is the caller's to see
        return None, error
