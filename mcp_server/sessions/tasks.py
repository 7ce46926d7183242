"""The extension `io.modelcontextprotocol/tasks`: calls that go on after their answer (ext-tasks).

A task runs on the worker that took the call; its record is in the shared store before the client learns its id, so
whichever worker is asked can tell how it stands.
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from mcp_server.authoring.errors import InvalidClientAnswer, ToolError
from mcp_server.authoring.interaction import InputRequired, Question, ResumableInteraction
from mcp_server.observe.log import logger
from mcp_server.protocol import errors
from mcp_server.protocol.errors import RpcError
from mcp_server.protocol.types.tasks import TERMINAL, Status, Task
from mcp_server.protocol.types.tools import CallToolResult
from mcp_server.sessions.task_record import TaskRecord, failure, left
from mcp_server.store.backend import KEPT_BYTES, OVERHEAD, StoreFull, StoreUnavailable, owner_of
from mcp_server.store.events import EventBus, TaskAnswered, TaskCancelled, TaskMoved

MAX_PER_PRINCIPAL: Final = 100
"""Running tasks of one principal on one worker."""
RESERVED: Final = 1024
"""Bytes that a task is counted with from its beginning: its record, and how it ended, can then always be told."""
TOO_MUCH_KEPT: Final = "Too much is kept of your tasks; it is forgotten when their time is over."
NO_ROOM: Final = "No room for the result"
FORWARDED_S: Final = 2.0
"""How long an answer waits for the worker that runs the task; it is acknowledged in any case."""
MAX_ASKED: Final = 5
"""How often a question is put again after an answer that cannot be read."""


class TooMuchKept(StoreFull):
    """One principal's tasks would keep more than its bound."""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(TaskRecord).decode
Run = Callable[["TaskInteraction"], Awaitable[CallToolResult | RpcError]]


class TaskInteraction:
    """A task that runs on this worker; the rounds of its handler."""

    def __init__(self, tasks: "Tasks", record: TaskRecord, first: ResumableInteraction | None) -> None:
        self._tasks, self.record, self._first = tasks, record, first
        self.notes: dict[str, Any] = first.notes if first else {}
        self.committed = False
        self.begun = asyncio.Event()
        self.counted = 0
        """Bytes of its record that its owner's bound has been charged with."""
        self.job: asyncio.Task[None] | None = None
        self._waiting: dict[str, asyncio.Future[Raw]] = {}
        self._used: set[str] = set()

    async def ask(self, questions: Mapping[str, Question[Any]]) -> dict[str, Any]:
        """Put questions in the task and wait; before the task has begun they end the round of the call itself."""
        if self._first is not None and not self.committed:
            return await self._first.ask(questions)
        found: dict[str, Any] = {}
        for _ in range(MAX_ASKED):
            left = {key: question for key, question in questions.items() if key not in found}
            raws = await self._put(left)
            for key, raw in raws.items():
                try:
                    found[key] = questions[key].read(raw)
                except InvalidClientAnswer:
                    continue
            if len(found) == len(questions):
                return found
        raise InvalidClientAnswer("The client's answers are not what was asked for.")

    async def _put(self, questions: Mapping[str, Question[Any]]) -> dict[str, Raw]:
        names = {self._fresh(key): key for key in questions}
        futures = {name: asyncio.get_running_loop().create_future() for name in names}
        self._waiting.update(futures)
        self.record.questions.update({name: questions[key].request for name, key in names.items()})
        try:
            await self._tasks.move(self.record, "input_required")
            await asyncio.gather(*futures.values())
        finally:
            for name in names:
                self._waiting.pop(name, None)
            given_up = [name for name in names if self.record.questions.pop(name, None) is not None]
            if given_up or not self.record.questions:  # by a handler's own timeout: nothing is asked for any more
                await self._tasks.move(self.record, "input_required" if self.record.questions else "working")
        return {key: futures[name].result() for name, key in names.items()}

    def _fresh(self, key: str) -> str:
        """A key that no question of this task had before."""
        name, number = key, 1
        while name in self._used:
            number += 1
            name = f"{key}-{number}"
        self._used.add(name)
        return name

    def take(self, responses: Mapping[str, Raw]) -> bool:
        """Answers; unknown keys are ignored. Whether any was waited for."""
        taken = False
        for key, raw in responses.items():
            future = self._waiting.pop(key, None)
            if future is not None and not future.done():
                self.record.questions.pop(key, None)
                future.set_result(raw)
                taken = True
        return taken

    async def send(self, message: bytes) -> None:
        """A task has no stream: its client looks when it likes."""

    async def pause(self, retry_ms: int) -> None:
        """Nothing to let go."""


class Tasks:
    """The tasks of all workers, and those that run here."""

    def __init__(self, bus: EventBus, ttl_s: float, max_kept: int = KEPT_BYTES) -> None:
        self._bus, self._backend, self._ttl_s = bus, bus.backend, ttl_s
        self._max_kept = max_kept
        self._running: dict[str, TaskInteraction] = {}
        self._writing = asyncio.Lock()
        self._awaited: dict[str, set[asyncio.Event]] = {}
        self._acting: set[asyncio.Task[None]] = set()
        bus.subscribe(TaskAnswered, lambda event: self._act(self._answered(event)))
        bus.subscribe(TaskCancelled, lambda event: self._act(self._cancelled(event)))
        bus.subscribe(TaskMoved, self._moved)

    def restart(self) -> None:
        """The server starts again after a stop: a lock belongs to the loop that it was waited for in."""
        self._writing = asyncio.Lock()
        self._running, self._awaited, self._acting = {}, {}, set()

    async def start(self, principal_key: str, tool: str, run: Run, first: ResumableInteraction | None) -> Task:
        """Run a call as a task; the record is stored when this returns.

        With `first`, what the handler asks before it awaits anything else is asked in the call: raises
        `InputRequired`. Raises `ToolError` when the principal has too many tasks running.
        """
        if await self._backend.held("task", owner_of(principal_key)) + RESERVED + OVERHEAD > self._max_kept:
            raise ToolError(TOO_MUCH_KEPT)
        if sum(one.record.principal_key == principal_key for one in self._running.values()) >= MAX_PER_PRINCIPAL:
            raise ToolError("Too many tasks are running; wait for one to end, or cancel one.")
        now = time.time()
        record = TaskRecord(secrets.token_urlsafe(24), principal_key, tool, self._backend.worker, now, now, self._ttl_s)
        running = TaskInteraction(self, record, first)
        asked: asyncio.Future[InputRequired] = asyncio.get_running_loop().create_future()
        running.job = asyncio.create_task(self._work(running, run, asked))
        running.job.add_done_callback(lambda _: self._running.pop(record.id, None))
        self._running[record.id] = running
        try:
            await asyncio.sleep(0)  # the handler has run up to its first await
            if asked.done():
                raise asked.result()
            running.committed = True
            async with self._writing:
                await self._store(record)
        except BaseException as error:  # nobody will learn its id
            running.job.cancel()
            if isinstance(error, TooMuchKept):
                raise ToolError(TOO_MUCH_KEPT) from error
            raise
        running.begun.set()
        return record.created()

    async def find(self, task_id: str, principal_key: str) -> TaskRecord | None:
        """The principal's own task; another's is not found."""
        stored = await self._backend.get(f"task:{task_id}")
        record = None if stored is None else _decode(stored)
        if record is None or record.principal_key != principal_key:
            return None
        if record.status not in TERMINAL and await self._orphaned(record):
            record.status, record.questions = "failed", {}
            record.error = failure("The server was restarted")
            await self._store(record)
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
        elif record.status not in TERMINAL:
            await self._forward(record, event)

    async def move(
        self,
        record: TaskRecord,
        status: Status,
        *,
        result: Raw | UnsetType = UNSET,
        error: dict[str, Any] | None = None,
    ) -> None:
        """A task's status changes: stored, and told to whoever listens. What has ended does not change any more.

        Only the worker that runs a task writes its record, one write after the other. How it ended is put in only
        here: a task that is cancelled while its handler returns must not become one with a result.
        """
        async with self._writing:
            if record.status in TERMINAL:
                return
            before = record.status
            record.status, record.updated_at = status, time.time()
            if status in TERMINAL:
                record.questions, record.result, record.error = {}, result, error
            try:
                await self._store(record)
            except StoreUnavailable:
                record.status, record.result, record.error = before, UNSET, None
                raise
        await self._bus.publish(TaskMoved(record.id, Raw(_encode(record.wire()))))

    async def stop(self) -> None:
        """The server stops: what runs here ends as failed."""
        for running in list(self._running.values()):
            with contextlib.suppress(StoreUnavailable):
                await self.move(running.record, "failed", error=failure("The server was stopped"))
            self._stop(running.record.id)
        jobs = [one.job for one in self._running.values() if one.job]
        await asyncio.gather(*jobs, return_exceptions=True)

    async def _work(self, running: TaskInteraction, run: Run, asked: "asyncio.Future[InputRequired]") -> None:
        record = running.record
        limit = asyncio.timeout(record.ttl_s)
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
                logger.exception("task failed", tool=record.tool)
                outcome = errors.internal_error()
        await running.begun.wait()
        try:
            await self._finish(record, outcome)
        except StoreUnavailable as away:  # once the store is back, the task is found without its worker, and has failed
            logger.error("a task's result cannot be kept", tool=record.tool, reason=str(away))

    async def _finish(self, record: TaskRecord, outcome: CallToolResult | RpcError) -> None:
        if isinstance(outcome, RpcError):
            error = {"code": outcome.code, "message": outcome.message, "data": outcome.data}
            told = {name: value for name, value in error.items() if value is not None}
            await self.move(record, "failed", error=told)
            return
        try:
            result = Raw(_encode(outcome))
        except (msgspec.MsgspecError, TypeError, ValueError):
            logger.exception("a task's result cannot be encoded", tool=record.tool)
            await self.move(record, "failed", error=failure("Internal error"))
            return
        try:
            await self.move(record, "completed", result=result)
        except StoreFull as full:
            logger.warning("no room for a task's result", tool=record.tool, reason=str(full))
            await self.move(record, "failed", error=failure(NO_ROOM))

    async def _store(self, record: TaskRecord) -> None:
        """Write a record; what it grows by must fit into its owner's bound, how it failed is always written."""
        running, encoded = self._running.get(record.id), _encode(record)
        if running is not None and record.error is None and len(encoded) > running.counted:
            await self._grow(running, encoded)
        else:
            await self._backend.set(f"task:{record.id}", encoded, left(record), owner_of(record.principal_key))

    async def _grow(self, running: TaskInteraction, encoded: bytes) -> None:
        """Keep a record that is longer than its owner was charged with; raises `TooMuchKept`."""
        record, size = running.record, max(len(encoded), RESERVED)
        kept = await self._backend.keep(
            f"task:{record.id}",
            encoded,
            left(record),
            owner=owner_of(record.principal_key),
            limit=self._max_kept,
            charge=size - running.counted,
        )
        if not kept:
            raise TooMuchKept("too much is kept of this principal's tasks")
        running.counted = size

    async def _orphaned(self, record: TaskRecord) -> bool:
        if record.id in self._running:
            return False
        if record.worker == self._backend.worker:
            return True
        return await self._backend.get(f"worker:{record.worker}") is None

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
        if running is not None and running.take(event.responses):
            await self.move(running.record, "input_required" if running.record.questions else "working")

    async def _cancelled(self, event: TaskCancelled) -> None:
        running = self._running.get(event.task_id)
        if running is not None:
            await self.move(running.record, "cancelled")
            self._stop(event.task_id)

    def _stop(self, task_id: str) -> None:
        running = self._running.get(task_id)
        if running is not None and running.job is not None:
            if running.record.status not in TERMINAL:
                running.record.status = "cancelled"
            running.job.cancel()
