"""The tasks of all workers, and those that run here: begun, found, answered, cancelled."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine, KeysView
from typing import Any, Final

import msgspec
from msgspec import Raw

from mcp_server.authoring.errors import ToolError
from mcp_server.authoring.interaction import InputRequired, ResumableInteraction
from mcp_server.identity import Principal
from mcp_server.limits.concurrency import ConcurrencyLimiter, Place
from mcp_server.observe.log import logger
from mcp_server.protocol import errors
from mcp_server.protocol.errors import RpcError
from mcp_server.protocol.types.tasks import Task
from mcp_server.protocol.types.tools import CallToolResult
from mcp_server.sessions.tasks.record import TaskRecord, TaskStore, TooMuchKept, failure
from mcp_server.sessions.tasks.run import TaskInteraction
from mcp_server.store.backend import KEPT_BYTES, StoreFull, StoreUnavailable, VersionConflict
from mcp_server.store.events import EventBus, TaskAnswered, TaskCancelled, TaskMoved
from mcp_server.store.revocations import Revocation

MAX_RUNNING: Final = 100
"""Running tasks of one principal on one worker."""
TOO_MUCH_KEPT: Final = "Too much is kept of your tasks; it is forgotten when their time is over."
TOO_MANY: Final = "Too many tasks are running; wait for one to end, or cancel one."
NO_ROOM: Final = "No room for the result"
REVOKED: Final = "The authorization ended: the session of who began this task is over"
STOP_S: Final = 2.5
"""How long an end waits for the store to take what becomes of its tasks, and then once more for their handlers."""
FORWARDED_S: Final = 2.0
"""How long an answer waits for the worker that runs the task; it is acknowledged in any case."""

_encode = msgspec.json.Encoder().encode
Run = Callable[[TaskInteraction], Awaitable[CallToolResult | RpcError]]


class Tasks:
    """The registry of tasks; a foreign task is as unknown as none."""

    def __init__(
        self,
        bus: EventBus,
        ttl_s: float,
        max_kept: int = KEPT_BYTES,
        *,
        max_running: int = MAX_RUNNING,
        stop_s: float = STOP_S,
        over: Callable[[Principal], bool] = lambda _: False,
    ) -> None:
        """`over` is whether a caller's token was revoked."""
        self._over = over
        self._stop_s = stop_s
        self._bus, self._backend, self._ttl_s = bus, bus.backend, ttl_s
        self._store = TaskStore(bus.backend, max_kept)
        self._max_running = max_running
        self.restart()
        bus.subscribe(TaskAnswered, lambda event: self._act(self._answered(event)))
        bus.subscribe(TaskCancelled, lambda event: self._act(self._cancelled(event)))
        bus.subscribe(TaskMoved, self._moved)

    def restart(self) -> None:
        """Begin with nothing that runs, once more where the server was stopped before: in another loop."""
        self._limiter = ConcurrencyLimiter(self._max_running)
        self._running: dict[str, TaskInteraction] = {}
        self._awaited: dict[str, set[asyncio.Event]] = {}
        self._acting: set[asyncio.Task[None]] = set()

    @property
    def running(self) -> KeysView[str]:
        """The ids of the tasks that run in this worker."""
        return self._running.keys()

    def working(self) -> list[asyncio.Task[None]]:
        """What runs and does not wait for its client."""
        jobs = [one.job for one in self._running.values() if one.record.status != "input_required"]
        return [job for job in jobs if job is not None and not job.done()]

    async def start(
        self,
        principal_key: str,
        tool: str,
        run: Run,
        first: ResumableInteraction | None,
        *,
        needed: frozenset[str],
        place: Place | None = None,
        principal: Principal | None = None,
    ) -> Task:
        """Run a call as a task; the record is stored when this returns.

        With `first`, what the handler asks before it awaits anything else is asked in the call: raises
        `InputRequired`. Raises `ToolError` when the principal has too many tasks running. `place` is the call's slot of
        its caller's limit: the task keeps it to its end, or a caller could run any number of calls as tasks.
        """
        if not await self._store.has_room(principal_key):
            raise ToolError(TOO_MUCH_KEPT)
        limiter = self._limiter
        if not limiter.acquire(principal_key):
            raise ToolError(TOO_MANY)
        now = time.time()
        record = TaskRecord(
            id=secrets.token_urlsafe(24),
            principal_key=principal_key,
            tool=tool,
            needed=needed,
            worker=self._backend.worker,
            created_at=now,
            updated_at=now,
            ttl_s=self._ttl_s,
        )
        running = self._running[record.id] = TaskInteraction(record, self._store, self._bus, first)
        running.principal = principal
        if place is not None:
            place.hold()

        def ended(_: asyncio.Task[None]) -> None:
            self._running.pop(record.id, None)
            limiter.release(principal_key)
            if place is not None:
                place.release()

        asked: asyncio.Future[InputRequired] = asyncio.get_running_loop().create_future()
        running.job = asyncio.create_task(self._work(running, run, asked))
        running.job.add_done_callback(ended)
        return await self._begin(running, asked)

    async def find(self, task_id: str, principal_key: str) -> TaskRecord | None:
        """The principal's own task; another's is not found."""
        record = await self._store.read(task_id)
        if record is None or record.principal_key != principal_key:
            return None
        if record.over or not await self._orphaned(record):
            return record
        record.move("failed", error=failure("The server was restarted"))
        try:
            await self._store.write(record, record.left_s())
        except VersionConflict:  # its worker lives, and has moved it meanwhile
            return await self._store.read(task_id)
        self._bus.publish_soon(TaskMoved(task_id))
        return record

    async def answer(self, record: TaskRecord, responses: dict[str, Raw]) -> None:
        """Hand answers to the handler that waits for them, on whatever worker it runs."""
        event = TaskAnswered(record.id, responses)
        if record.id in self._running:
            await self._answered(event)
        elif record.questions.keys() & responses.keys():
            await self._forward(record, event)

    async def cancel(self, record: TaskRecord) -> None:
        """Stop it; a task that has ended stays as it is."""
        event = TaskCancelled(record.id)
        if record.id in self._running:
            await self._cancelled(event)
        elif not record.over:
            await self._forward(record, event)

    def revoked(self, revocation: Revocation) -> int:
        """End the tasks that tokens which are over began, and that run here; how many there were."""
        ended = [one for one in self._running.values() if one.principal and revocation.ends(one.principal)]
        for running in ended:
            self._act(self._end(running))
        return len(ended)

    async def _end(self, running: TaskInteraction) -> None:
        if not running.committed:  # nobody has its id yet; `_begin` looks again
            return
        try:
            await running.move("failed", error=failure(REVOKED))
        finally:  # a store that is away must not let it go on
            running.stop()

    async def stop(self) -> None:
        """The server stops: what runs here ends as failed."""
        all_running = list(self._running.values())
        moves = [one.move("failed", error=failure("The server was stopped")) for one in all_running]
        with contextlib.suppress(TimeoutError):  # a store that hangs: the tasks are found without their worker
            async with asyncio.timeout(self._stop_s):
                await asyncio.gather(*moves, return_exceptions=True)
        for running in all_running:
            running.stop()
        if jobs := [one.job for one in all_running if one.job]:
            await asyncio.wait(jobs, timeout=self._stop_s)  # a handler may swallow its cancellation

    async def _begin(self, running: TaskInteraction, asked: "asyncio.Future[InputRequired]") -> Task:
        try:
            await asyncio.sleep(0)  # the handler has run up to its first await
            if asked.done():
                raise asked.result()
            await running.begin()
        except BaseException as error:  # nobody will learn its id
            running.stop()
            if isinstance(error, TooMuchKept):
                raise ToolError(TOO_MUCH_KEPT) from error
            raise
        running.begun.set()
        if running.principal is not None and self._over(running.principal):  # revoked while it began
            await self._end(running)
        return running.record.created()

    async def _work(self, running: TaskInteraction, run: Run, asked: "asyncio.Future[InputRequired]") -> None:
        tool = running.record.tool
        limit = asyncio.timeout(running.record.ttl_s)
        try:
            async with limit:
                outcome = await run(running)
        except InputRequired as required:
            if not asked.done():
                asked.set_result(required)
            return
        except StoreFull:  # what it asked is too much to keep
            outcome = RpcError(code=errors.INTERNAL_ERROR, message=TOO_MUCH_KEPT)
        except Exception:  # noqa: BLE001 - the client learns that it failed, the log why
            if limit.expired():
                outcome = RpcError(code=errors.INTERNAL_ERROR, message="The task took too long")
            else:
                logger.exception("task failed", tool=tool)
                outcome = errors.internal_error()
        await running.begun.wait()
        try:
            await _finish(running, outcome)
        except StoreUnavailable as away:  # once the store is back, the task is found without its worker, and has failed
            logger.error("a task's result cannot be kept", tool=tool, reason=str(away))

    async def _orphaned(self, record: TaskRecord) -> bool:
        if record.id in self._running:
            return False
        return record.worker == self._backend.worker or not await self._backend.alive(record.worker)

    async def _forward(self, record: TaskRecord, event: TaskAnswered | TaskCancelled) -> None:
        """Have the worker that runs a task act, and wait until the task has moved, so that the next look shows it."""
        moved = asyncio.Event()
        waiting = self._awaited.setdefault(record.id, set())
        waiting.add(moved)
        try:
            await self._bus.publish_to(record.worker, event)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FORWARDED_S):
                    await moved.wait()
        finally:
            waiting.discard(moved)
            if not waiting:
                self._awaited.pop(record.id, None)

    def _moved(self, event: TaskMoved) -> None:
        for moved in self._awaited.get(event.task_id, ()):
            moved.set()

    def _act(self, work: Coroutine[Any, Any, None]) -> None:
        """Do what another worker asked for."""
        task = asyncio.get_running_loop().create_task(work)
        self._acting.add(task)
        task.add_done_callback(self._acted)

    def _acted(self, task: asyncio.Task[None]) -> None:
        self._acting.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("a task could not be moved", reason=str(task.exception()))

    async def _answered(self, event: TaskAnswered) -> None:
        running = self._running.get(event.task_id)
        if running is not None:
            await running.take(event.responses)

    async def _cancelled(self, event: TaskCancelled) -> None:
        running = self._running.get(event.task_id)
        if running is not None:
            await running.move("cancelled")
            running.stop()


async def _finish(running: TaskInteraction, outcome: CallToolResult | RpcError) -> None:
    """Say in the record how the handler ended."""
    tool = running.record.tool
    if isinstance(outcome, RpcError):
        error = {"code": outcome.code, "message": outcome.message, "data": outcome.data}
        await running.move("failed", error={name: value for name, value in error.items() if value is not None})
        return
    try:
        result = Raw(_encode(outcome))
    except (msgspec.MsgspecError, TypeError, ValueError):
        logger.exception("a task's result cannot be encoded", tool=tool)
        await running.move("failed", error=failure("Internal error"))
        return
    try:
        await running.move("completed", result=result)
    except StoreFull as full:
        logger.warning("no room for a task's result", tool=tool, reason=str(full))
        await running.move("failed", error=failure(NO_ROOM))
