"""A task that runs on this worker: the rounds of its handler, and the writes of its record, one after the other."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final

from msgspec import UNSET, Raw, UnsetType

from mcp_server.authoring.errors import InvalidClientAnswer
from mcp_server.authoring.interaction import Question, ResumableInteraction
from mcp_server.identity import Principal
from mcp_server.observe.log import logger
from mcp_server.protocol.types.tasks import Status
from mcp_server.sessions.tasks.record import GRACE_S, TaskRecord, TaskStore
from mcp_server.store.backend import StoreUnavailable, VersionConflict
from mcp_server.store.events import EventBus, TaskMoved

MAX_ASKED: Final = 5
"""How often a question is put again after an answer that cannot be read."""
MAX_CONFLICTS: Final = 5


class TaskInteraction:
    """How a task's handler asks its client, and how the task moves."""

    def __init__(self, record: TaskRecord, store: TaskStore, bus: EventBus, first: ResumableInteraction | None) -> None:
        self.record, self._store, self._bus, self._first = record, store, bus, first
        self.notes: dict[str, Any] = first.notes if first else {}
        self.committed = False
        self.begun = asyncio.Event()
        self.job: asyncio.Task[None] | None = None
        self.principal: Principal | None = None
        self._writing = asyncio.Lock()
        self._until = time.monotonic() + record.ttl_s + GRACE_S
        """When its record is forgotten: a wall clock that is set must not end it, nor keep it."""
        self._counted = 0
        """Bytes of its record that its owner's bound has been charged with."""
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
            await self.move("input_required")
            await asyncio.gather(*futures.values())
        finally:
            for name in names:
                self._waiting.pop(name, None)
            given_up = [name for name in names if self.record.questions.pop(name, None) is not None]
            if given_up or not self.record.questions:  # by a handler's own timeout: nothing is asked for any more
                await self.move("input_required" if self.record.questions else "working")
        return {key: futures[name].result() for name, key in names.items()}

    def _fresh(self, key: str) -> str:
        """A key that no question of this task had before."""
        name, number = key, 1
        while name in self._used:
            number += 1
            name = f"{key}-{number}"
        self._used.add(name)
        return name

    async def take(self, responses: Mapping[str, Raw]) -> None:
        """Answers of the client; those to unknown keys are ignored."""
        taken = False
        for key, raw in responses.items():
            future = self._waiting.pop(key, None)
            if future is not None and not future.done():
                self.record.questions.pop(key, None)
                future.set_result(raw)
                taken = True
        if taken:
            await self.move("input_required" if self.record.questions else "working")

    async def send(self, message: bytes) -> None:
        """A task has no stream: its client looks when it likes."""

    async def pause(self, retry_ms: int) -> None:
        """Nothing to let go."""

    async def begin(self) -> None:
        """Store the record, so that its id may be told."""
        self.committed = True
        async with self._writing:
            await self._save()

    async def move(
        self, status: Status, *, result: Raw | UnsetType = UNSET, error: dict[str, Any] | None = None
    ) -> None:
        """Change the task's status: stored, and told to whoever listens. A terminal one does not change any more.

        How it ended is put in only here: a task that is cancelled while its handler returns must not become one with a
        result.
        """
        async with self._writing:
            record = self.record
            if record.over:
                return
            before, questions = record.status, record.questions
            record.move(status, result=result, error=error)
            try:
                await self._save()
            except StoreUnavailable:
                record.status, record.questions, record.result, record.error = before, questions, UNSET, None
                raise
        self._bus.publish_soon(TaskMoved(self.record.id))

    async def _save(self) -> None:
        """Write the record; where another worker has ended the task, that end is taken over and the work stops."""
        for _ in range(MAX_CONFLICTS):
            try:
                left_s = max(self._until - time.monotonic(), 1)
                self._counted = await self._store.write(self.record, left_s, self._counted)
            except VersionConflict:
                stored = await self._store.read(self.record.id)
                if stored is not None and stored.over:
                    logger.warning("a task was given up by another worker", tool=self.record.tool)
                    self.record = stored
                    self.stop()
                    return
                if stored is not None:  # an earlier write of ours, whose answer was lost
                    self.record.version = stored.version
            else:
                return
        raise StoreUnavailable("a task's record is changed all the time")

    def stop(self) -> None:
        """End the work; what the handler still returns is nobody's."""
        if not self.record.over:
            self.record.status = "cancelled"
        if self.job is not None:
            self.job.cancel()
