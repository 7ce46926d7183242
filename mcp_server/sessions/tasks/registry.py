"""The tasks of all workers, and those that run here: begun, found, answered, cancelled, taken over, handed back."""

import asyncio
import contextlib
import functools
import time
from collections.abc import Callable, Coroutine, KeysView
from typing import Any, Final

import msgspec
from msgspec import Raw

from mcp_server.authoring.errors import ToolError
from mcp_server.identity import TokenMarks
from mcp_server.limits.concurrency import ConcurrencyLimiter, Place
from mcp_server.observe.log import logger
from mcp_server.protocol import errors
from mcp_server.protocol.errors import RpcError
from mcp_server.protocol.types.tasks import Task
from mcp_server.sessions.tasks import run as runs
from mcp_server.sessions.tasks.leases import Leases, LeaseTimes
from mcp_server.sessions.tasks.record import GRACE_S, TaskRecord, TaskStore, TooMuchKept, failure, new_version
from mcp_server.sessions.tasks.run import MayHaveActed, NewTask, Resumer, Run, TaskInteraction, hold_slots
from mcp_server.sessions.tasks.runner import NOT_BEGUN, TOO_MUCH_KEPT, Asked, Runner
from mcp_server.store.backend import KEPT_BYTES, StoreFull, StoreUnavailable, VersionConflict
from mcp_server.store.events import EventBus, EventsMissed, TaskChanged, TaskReleased
from mcp_server.store.revocations import Revocation

MAX_RUNNING: Final = 100
"""Running tasks of one principal on one worker."""
MAX_LOST: Final = 3
"""Workers that may be lost with a task: one that ends its worker's process shall not end all of them."""
TOO_MANY: Final = "Too many tasks are running; wait for one to end, or cancel one."
LOST: Final = "The worker that ran this was lost; it may have acted."
REVOKED: Final = "The authorization ended: the session of who began this task is over"
STOPPED: Final = "The server was stopped; the task may have acted."
STOP_S: Final = 2.5
"""How long an end waits for the store to take what becomes of its tasks, and then once more for their handlers."""

Renewed = Callable[[str, bytes], bytes]


class Tasks:
    """The registry of tasks; a foreign task is as unknown as none."""

    resumer: Resumer
    same_keys = True
    """Whether the next server opens what this one has sealed."""

    def __init__(
        self,
        bus: EventBus,
        ttl_s: float,
        max_kept: int = KEPT_BYTES,
        *,
        times: LeaseTimes | None = None,
        max_running: int = MAX_RUNNING,
        stop_s: float = STOP_S,
        over: Callable[[TokenMarks], bool] = lambda _: False,
    ) -> None:
        """`over` is whether a token was revoked."""
        self._stop_s, self._over = stop_s, over
        self._bus, self._backend, self._ttl_s = bus, bus.backend, ttl_s
        self._store = TaskStore(bus.backend, max_kept)
        self._max_running = max_running
        self._running: dict[str, TaskInteraction] = {}
        times = times or LeaseTimes()
        self.leases = Leases(bus.backend, times, self._running, self._take)
        self._runner = Runner(self._store, bus, self._running, times.retry_s)
        self.restart()
        bus.subscribe(TaskChanged, self._on_task_changed)
        bus.subscribe(TaskReleased, lambda _: self.leases.wake())
        bus.subscribe(EventsMissed, lambda _: self.leases.wake())

    def restart(self) -> None:
        """Begin with nothing that runs, once more where the server was stopped before: in another loop."""
        self._limiter = ConcurrencyLimiter(self._max_running)
        self._running.clear()
        self._acting: set[asyncio.Task[None]] = set()
        self.leases.claims = True

    def begin(self, *, offered: bool = True) -> None:
        """Hold the leases of what runs here, and claim what others gave up; `offered` is whether a tool runs as a task.

        The store has begun.
        """
        self.leases.begin()
        if offered:
            self._act(self.leases.tell_persistence())

    @property
    def running(self) -> KeysView[str]:
        """The ids of the tasks that run in this worker."""
        return self._running.keys()

    def _here(self) -> list[TaskInteraction]:
        return list(self._running.values())

    def working(self) -> list[asyncio.Task[None]]:
        """The runs of this worker."""
        return [one.job for one in self._running.values() if one.job is not None and not one.job.done()]

    async def start(self, begun: NewTask) -> Task:
        """Run a call as a task; the record is stored when this returns.

        Raises `InputRequired` for what is asked first, `ToolError` when the principal has too many tasks running, and
        `StoreUnavailable` where no handler has begun nor ever will, else `MayHaveActed`.
        """
        if not await self._store.has_room(begun.principal_key):
            raise ToolError(TOO_MUCH_KEPT)
        if not self._limiter.acquire(begun.principal_key):
            raise ToolError(TOO_MANY)
        record = runs.begins(begun, self._backend.worker, self._ttl_s)
        running = TaskInteraction(record, begun.first, retry=begun.retry, left_s=self._ttl_s)
        try:
            await (self._begin if begun.first is None else self._begin_asking)(running, begun)
        except TooMuchKept as error:
            raise ToolError(TOO_MUCH_KEPT) from error
        return running.record.created()

    async def _begin(self, running: TaskInteraction, begun: NewTask) -> None:
        """Begin a run whose record is stored, once the store has taken that its client is told of it.

        The first write may be taken though its answer is lost, and its client calls again: nobody runs that alone.
        """
        release = hold_slots(self._limiter, begun)
        try:
            record = running.record = await self._kept(running.record, begun.job(running.record.id))
        except BaseException:
            release()
            raise
        told = msgspec.structs.replace(record, told=True)
        write = functools.partial(self._store.write, told, "run", version=new_version(told))
        late = self._runner.late(lambda one: self._ready(one, begun.run), write, self.leases.hold)
        self._runner.begin(running, late, release)

    async def _begin_asking(self, running: TaskInteraction, begun: NewTask) -> None:
        """Begin a run in its call, which has what is asked first; the rest of it is the task's."""
        asked: Asked = asyncio.get_running_loop().create_future()
        self._runner.begin(running, begun.run, hold_slots(self._limiter, begun), asked)
        try:
            await asyncio.sleep(0)  # the handler has run up to its first await
            if asked.done():
                raise asked.result()
            running.in_call, since = False, time.monotonic()
            running.record = await self._kept(running.record, begun.job(running.record.id))
        except BaseException as error:  # nobody will learn its id
            running.stop("cancelled")
            if isinstance(error, StoreUnavailable):
                raise MayHaveActed from error
            raise
        self.leases.held(running, since)
        running.begun.set()
        if self._revoked(running.record):  # while it began
            await self._end(running)

    async def _kept(self, record: TaskRecord, job: bytes) -> TaskRecord:
        try:
            return await self._store.write(record, "run", job=job)
        except StoreFull:
            raise
        except VersionConflict as over:  # it was taken, and ended for lost before that was known
            raise StoreUnavailable(str(over)) from over
        except BaseException:  # it may be written yet, and the client is told that nothing began
            self._act(self._runner.unmake(record))
            raise

    async def find(self, task_id: str, principal_key: str) -> TaskRecord | None:
        """The principal's own task; another's is not found."""
        record = await self._store.read(task_id)
        return None if record is None or record.principal_key != principal_key else record

    async def answer(
        self,
        record: TaskRecord,
        responses: dict[str, Raw],
        renewed: Renewed | None = None,
        marks: TokenMarks | None = None,
    ) -> None:
        """Take answers; with the last one the handler runs again, here if there is room, else wherever there is.

        `renewed` makes of the job one that runs by the authorization of who answers, whose token has these `marks`. One
        that began by a token which is revoked runs no more, whoever answers: it has failed.
        """

        async def write(record: TaskRecord) -> bool:
            changed = runs.answered(record, responses)
            if changed is None:
                return False
            if self._revoked(record):
                await self._store.write(record.moved("failed", error=failure(REVOKED)), "end")
                self.resumer.ended(record, "task_failed")
            elif changed.status == "working":
                await self._answered(msgspec.structs.replace(changed, marks=marks or changed.marks), renewed)
            else:
                await self._store.write(changed, "keep")
            return True

        if await self._store.change(record, write):
            self._bus.publish_soon(TaskChanged(record.id))

    async def cancel(self, record: TaskRecord) -> None:
        """Stop it; a task that has ended stays as it is."""

        async def write(record: TaskRecord) -> bool:
            if record.over:
                return False
            await self._store.write(record.moved("cancelled"), "end")
            if (running := self._running.get(record.id)) is not None:
                running.stop("cancelled")
            return True

        if await self._store.change(record, write):
            self._bus.publish_soon(TaskChanged(record.id))

    def revoked(self, revocation: Revocation) -> int:
        """End the tasks of tokens that are over and that run here; how many there were.

        Others have failed when they are claimed or answered: who revokes need not read all tasks of all callers.
        """
        ended = [one for one in self._running.values() if one.record.marks and revocation.ends(one.record.marks)]
        for running in ended:
            self._act(self._end(running))
        return len(ended)

    async def hand_back(self) -> None:
        """The server will stop: another worker shall run what may be run again, now. This one claims nothing more.

        Where nobody else can be known to run it, it goes on here for as long as it may: it is nobody's otherwise until
        the next server begins, which without stated keys could not read it.
        """
        if await self.leases.others() and self.same_keys:
            await asyncio.gather(*(self._hand_back(one) for one in self._again() if not one.in_thread))

    def _again(self) -> list[TaskInteraction]:
        """The runs of what another worker may run again."""
        running = self._running.values() if self._backend.distributed else ()
        return [one for one in running if one.retry and one.begun.is_set()]

    async def stop(self) -> None:
        """The server stops: what runs here is handed back, or ends as failed. What is being written is written.

        What may be run again and runs in a thread keeps its lease until that runs out: the thread goes on to the end of
        the process, and shall not run beside the next run.
        """
        self.leases.claims = False
        await self.leases.end()
        again = self._again()
        threaded = [one for one in again if one.in_thread]
        for running in threaded:
            running.stop("lost")
        ends = [
            self._hand_back(one) if one in again else self._fail(one) for one in self._here() if one not in threaded
        ]
        with contextlib.suppress(TimeoutError):  # a store that hangs: their leases run out
            async with asyncio.timeout(self._stop_s):
                await asyncio.gather(*ends, *self._acting, return_exceptions=True)
        left = self._here()
        for running in left:
            running.stop("failed")
        if jobs := [one.job for one in left if one.job]:
            await asyncio.wait(jobs, timeout=self._stop_s)  # a handler may swallow its cancellation
        for running in self._here():
            running.told(f"task_{running.ending}")
        for acting in list(self._acting):
            acting.cancel()

    async def _answered(self, record: TaskRecord, renewed: Renewed | None) -> None:
        """Have a task run again whose questions are answered."""
        job = await self._backend.jobs.job(record.id)
        if job is None:
            raise VersionConflict(record.id)
        data = job.data if renewed is None else renewed(record.id, job.data)
        limiter, who = self._limiter, record.principal_key
        if not self.leases.claims or not limiter.acquire(who):
            await self._store.write(record, "free", job=data)
            self._bus.publish_soon(TaskReleased(record.id))
            return
        await self._resume(record, data, job.left_s)

    async def _resume(self, record: TaskRecord, data: bytes, left_s: float) -> None:
        """Run a task again on this worker, where a slot is taken for it. Raises `VersionConflict`.

        Where the store does not say whether it was taken, the run begins when it says so.
        """
        changed = msgspec.structs.replace(record, worker=self._backend.worker, attempt=record.attempt + 1)
        retry = self.resumer.retries(record.tool) is True
        running = TaskInteraction(changed, retry=retry, left_s=left_s - GRACE_S)
        running.place = place = Place(self._limiter, record.principal_key)
        write = functools.partial(self._store.write, changed, "run", version=new_version(changed), job=data)
        since = time.monotonic()
        try:
            resumed = self.resumer.resume(record, data)
            try:
                running.record = await write()
            except StoreFull:
                raise
            except (StoreUnavailable, asyncio.CancelledError):
                place.hold()
                late = self._runner.late(lambda one: self._ready(one, resumed), write, self.leases.hold)
                self._runner.begin(running, late, place.release)
                raise
        except BaseException:
            place.release()
            raise
        self.leases.held(running, since)
        self._runner.begin(running, self._ready(running, resumed), place.release)

    def _ready(self, running: TaskInteraction, resumed: Run | RpcError) -> Run:
        """What is run of a task that is this worker's; asked after the last wait: from here on `revoked` finds it."""
        running.begun.set()
        if self._revoked(running.record):
            resumed = RpcError(code=errors.INTERNAL_ERROR, message=REVOKED)
        if isinstance(resumed, RpcError):
            self.resumer.ended(running.record, "task_failed")
            return runs.refusing(resumed)
        return resumed

    async def _take(self, task_id: str) -> None:
        """Take over a task that was claimed: run it again, or say that it was lost."""
        if task_id in self._running:  # its lease ran out unseen, and nobody else was there
            return
        record, job = await self._store.read(task_id), await self._backend.jobs.job(task_id)
        if record is None or job is None or record.over:
            await self._backend.jobs.drop(task_id)
            return
        if record.status != "working":  # it has asked meanwhile, and waits in no queue
            return
        retries, lost = self.resumer.retries(record.tool), record.lost + bool(record.worker)
        if retries is None:  # a worker of another version has the tool
            await self._backend.jobs.postpone(task_id)
            return
        try:
            if not record.told:  # its client may have been told that nothing has begun
                logger.warning("a task is not begun, the store was away as it should", tool=record.tool)
                await self._failed(record, NOT_BEGUN)
            elif record.worker and (not retries or lost >= MAX_LOST):
                await self._failed(msgspec.structs.replace(record, lost=lost), LOST)
                self.resumer.ended(record, "task_lost")
            elif self._limiter.acquire(record.principal_key):
                logger.warning("a task is taken over", tool=record.tool, attempt=record.attempt + 1, lost=lost)
                await self._resume(msgspec.structs.replace(record, lost=lost), job.data, job.left_s)
            else:
                await self._backend.jobs.postpone(task_id)
        except VersionConflict:  # its worker lives after all, or it was cancelled
            return

    async def _failed(self, record: TaskRecord, why: str) -> None:
        await self._store.write(record.moved("failed", error=failure(why)), "end")
        self._bus.publish_soon(TaskChanged(record.id))

    def _revoked(self, record: TaskRecord) -> bool:
        return record.marks is not None and self._over(record.marks)

    async def _end(self, running: TaskInteraction) -> None:
        """End a run whose token is over. It stops first: a store that is away must not let it go on."""
        if running.begun.is_set() and not running.settling:  # before it has begun `start` looks again
            running.stop("failed")
            await self._runner.write(running, running.record.moved("failed", error=failure(REVOKED)), "end")

    async def _hand_back(self, running: TaskInteraction) -> None:
        """Give up the lease of a run, once the handler has ended; one that had ended already has its end written."""
        if running.job is None:
            return
        if not running.settling:
            running.stop("handed_back")
        await asyncio.wait([running.job], timeout=self._stop_s)
        if running.job.done() and running.ending == "handed_back":
            await self._runner.write(running, msgspec.structs.replace(running.record, worker=""), "free")
            self._bus.publish_soon(TaskReleased(running.record.id))

    async def _fail(self, running: TaskInteraction) -> None:
        """Say that a run has failed; what it came to is being written where it has ended already."""
        if running.settling and running.job is not None:
            await asyncio.wait([running.job])
        elif running.begun.is_set():
            await self._runner.write(running, running.record.moved("failed", error=failure(STOPPED)), "end")

    def _on_task_changed(self, event: TaskChanged) -> None:
        """Another worker has moved a task, maybe one that runs here."""
        running = self._running.get(event.task_id)
        if running is not None and running.begun.is_set() and not (running.over or running.settling):
            self._act(self._look(running))

    async def _look(self, running: TaskInteraction) -> None:
        stands = await self._store.read(running.record.id)
        if not running.settling and (stands is None or stands.version != running.record.version):
            running.stop("cancelled")

    def _act(self, work: Coroutine[Any, Any, None]) -> None:
        """Do what nobody waits for."""
        task = asyncio.get_running_loop().create_task(work)
        self._acting.add(task)
        task.add_done_callback(self._acted)

    def _acted(self, task: asyncio.Task[None]) -> None:
        self._acting.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("a task could not be looked at", reason=str(task.exception()))
