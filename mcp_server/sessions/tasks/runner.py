"""Runs of this worker: a handler run within its task's time, and what became of it written, however long that takes."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Final, TypeVar

import msgspec
from msgspec import Raw

from mcp_server.authoring.interaction import InputRequired, ResumableInteraction
from mcp_server.limits import cancellation
from mcp_server.observe.log import logger
from mcp_server.protocol import errors
from mcp_server.protocol.errors import RpcError
from mcp_server.protocol.types.tools import CallToolResult
from mcp_server.sessions.tasks.record import TaskRecord, TaskStore, failure, new_version
from mcp_server.sessions.tasks.run import Run, TaskInteraction, asking
from mcp_server.store.backend import StoreFull, StoreUnavailable, VersionConflict
from mcp_server.store.events import EventBus, TaskChanged
from mcp_server.store.jobs.queue import Then

TOO_MUCH_KEPT: Final = "Too much is kept of your tasks; it is forgotten when their time is over."
NO_ROOM: Final = "No room for the result"
TOO_LONG: Final = "The task took too long"
NOT_BEGUN: Final = "The store was away as this began, and nothing of it has run."
MAX_PAUSE_S: Final = 1.0
Answer = TypeVar("Answer")
Written = Callable[[], Awaitable[TaskRecord]]
"""One write, which is the same each time."""
Hold = Callable[[TaskInteraction], Awaitable[bool]]
"""Renews the lease of a run; whether this worker has it."""
_encode = msgspec.json.Encoder().encode
Outcome = CallToolResult | RpcError | ResumableInteraction
"""How a handler ended; the last where it has asked."""
Asked = asyncio.Future[InputRequired]
"""Where a question that belongs to the call itself goes."""


class Runner:
    """`running` are the runs by the task's id."""

    def __init__(
        self, store: TaskStore, bus: EventBus, running: MutableMapping[str, TaskInteraction], retry_s: float
    ) -> None:
        self._store, self._bus, self._running, self._retry_s = store, bus, running, retry_s

    def begin(
        self, running: TaskInteraction, run: Run, release: Callable[[], None], asked: Asked | None = None
    ) -> None:
        """Begin a run, whose caller's slots are taken; `release` gives them back when it has ended."""
        task_id = running.record.id

        def ended(_: asyncio.Task[None]) -> None:
            if self._running.get(task_id) is running:
                del self._running[task_id]
            release()

        self._running[task_id] = running
        loop = asyncio.get_running_loop()
        running.job = loop.create_task(self._work(running, run, asked, loop.time() + running.left_s))
        running.job.add_done_callback(ended)

    def late(self, ready: Callable[[TaskInteraction], Run], written: Written, hold: Hold) -> Run:
        """A run that begins when it is known to be this worker's; `ready` is what is run then."""

        async def run(running: TaskInteraction) -> CallToolResult | RpcError:
            try:
                if not await self.settled(running, written, hold):
                    raise asyncio.CancelledError
                return await ready(running)(running)
            finally:
                running.begun.set()

        return run

    async def settled(self, running: TaskInteraction, written: Written, hold: Hold) -> bool:
        """Learn whether a run has begun, of which the store has not said it; whether it is this worker's now.

        Else a task would be leased to a worker that lives and does not run it, and be told to be lost.
        """
        tool = running.record.tool
        try:
            running.record = await self._answered(written, tool)
        except (VersionConflict, StoreFull):  # it was cancelled, answered elsewhere, or taken over; or it has no room
            return False
        return await self._answered(functools.partial(hold, running), tool)

    async def unmake(self, record: TaskRecord) -> None:
        """End a task whose first write may have been taken, and whose client was told that nothing began.

        Where it was not taken yet the end stands in its place: a store that hung still runs what waits in its sockets.
        """
        stands: TaskRecord | None = record
        while stands is not None and not stands.over:
            ended = stands.moved("failed", error=failure(NOT_BEGUN))
            write = functools.partial(self._store.write, ended, "end", version=new_version(ended))
            try:
                await self._answered(write, record.tool)
            except VersionConflict:
                stands = await self._answered(functools.partial(self._store.read, record.id), record.tool)
            else:
                self._bus.publish_soon(TaskChanged(record.id))
                return

    async def _answered(
        self, ask: Callable[[], Awaitable[Answer]], tool: str, *, waits_for_room: bool = False
    ) -> Answer:
        """What the store says, however long it is away. Raises `VersionConflict`, and `StoreFull` unless it waits."""
        pause_s = self._retry_s
        while True:
            try:
                return await ask()
            except StoreUnavailable as away:
                if isinstance(away, StoreFull) and not waits_for_room:
                    raise
                logger.error("a task's record cannot be written yet", tool=tool, reason=str(away))
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, MAX_PAUSE_S)

    async def _work(self, running: TaskInteraction, run: Run, asked: Asked | None, until: float) -> None:
        outcome: Outcome
        limit = asyncio.timeout_at(until)
        try:
            async with limit:
                # Behind the limit's own: uvloop runs what is due before what has not begun, and a run that is cancelled
                # before its first step has nobody to say how it ended.
                running.end_again_at(until + cancellation.AGAIN_S)
                outcome = await run(running)
        except InputRequired as required:
            if asked is not None and running.in_call:
                asked.set_result(required)
                return
            outcome = required.carried
        except asyncio.CancelledError:
            # Also ours: after a handler that swallowed the first one, `timeout` takes it for somebody else's.
            if running.ending is not None:
                return  # raised on, it would be kept by this very task: a circle with the frames of the call
            if not limit.expired():
                raise
            outcome = RpcError(code=errors.INTERNAL_ERROR, message=TOO_LONG)
        except Exception:  # noqa: BLE001 - the client learns that it failed, the log why
            if limit.expired():
                outcome = RpcError(code=errors.INTERNAL_ERROR, message=TOO_LONG)
            else:
                logger.exception("task failed", tool=running.record.tool)
                outcome = errors.internal_error()
        if running.ending == "failed":  # whoever has ended it says why; a handler may swallow its cancellation
            return
        if running.ending is not None and not running.begun.is_set():  # the call has failed, and nobody learns its id
            return
        running.settle()
        await running.begun.wait()
        await self._settle(running, outcome)

    async def _settle(self, running: TaskInteraction, outcome: Outcome) -> None:
        """Say in the record what became of a run."""
        record = running.record
        then: Then = "park" if isinstance(outcome, ResumableInteraction) else "end"
        try:
            moved = _moved(record, outcome)
        except (msgspec.MsgspecError, TypeError, ValueError):
            logger.exception("what a task's handler returned or noted cannot be encoded", tool=record.tool)
            moved, then = record.moved("failed", error=failure("Internal error")), "end"
        try:
            await self.write(running, moved, then)
        except StoreFull as full:
            logger.warning("no room for what a task came to", tool=record.tool, reason=str(full))
            text = NO_ROOM if moved.status == "completed" else TOO_MUCH_KEPT
            await self.write(running, record.moved("failed", error=failure(text)), "end")

    async def write(self, running: TaskInteraction, record: TaskRecord, then: Then) -> None:
        """Write until the store takes it, which may be away; what another worker wrote meanwhile stands.

        Raises `StoreFull`, but for how a task failed. Each try is the same write: one whose answer was lost is done,
        and is not somebody else's. It may go on when the lease is over: the handler has ended, and the version fences.
        """
        write = functools.partial(self._store.write, record, then, version=new_version(record))
        try:
            await self._answered(write, record.tool, waits_for_room=record.error is not None)
        except VersionConflict:
            logger.warning("a task was cancelled, or given to another worker", tool=record.tool)
            return
        running.over = True
        self._bus.publish_soon(TaskChanged(record.id))


def _moved(record: TaskRecord, outcome: Outcome) -> TaskRecord:
    if isinstance(outcome, RpcError):
        error = {"code": outcome.code, "message": outcome.message, "data": outcome.data}
        return record.moved("failed", error={name: value for name, value in error.items() if value is not None})
    if isinstance(outcome, CallToolResult):
        return record.moved("completed", result=Raw(_encode(outcome)))
    asked = asking(record, outcome)
    _encode(asked)
    return asked
