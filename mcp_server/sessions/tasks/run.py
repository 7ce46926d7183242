"""One run of a task's handler on this worker: what it asks, and what the run is answerable for."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Literal, Protocol

import msgspec
from msgspec import Raw

from mcp_server.authoring.errors import InvalidClientAnswer
from mcp_server.authoring.interaction import InputRequired, Question, ResumableInteraction, pin
from mcp_server.identity import TokenMarks
from mcp_server.limits.cancellation import Cancellation
from mcp_server.limits.concurrency import ConcurrencyLimiter, Place
from mcp_server.limits.threads import Blocking
from mcp_server.protocol.errors import RpcError
from mcp_server.protocol.types.tools import CallToolResult
from mcp_server.sessions.tasks.record import Rounds, TaskRecord

MAX_ASKED: Final = 5
"""How often a question is put after an answer that cannot be read."""
Ending = Literal["cancelled", "lost", "handed_back", "failed"]


class TaskInteraction:
    """How a task's handler asks its client: a question without an answer ends the run, and the answer begins another.

    So no worker waits for a person, and a question outlives the worker that put it. `first` are the rounds of the call
    itself, where what is asked first is asked before there is a task.
    """

    def __init__(
        self, record: TaskRecord, first: ResumableInteraction | None = None, *, retry: bool = False, left_s: float
    ) -> None:
        self.record, self.retry, self.left_s = record, retry, left_s
        self.rounds = first or ResumableInteraction(record.rounds.answers, dict(record.rounds.notes))
        self.notes = self.rounds.notes
        self.in_call = first is not None
        """Whether a question is one of the call itself."""
        self.begun = asyncio.Event()
        self.place: Place | None = None
        """The slot of its caller's limit that the run takes."""
        self.blocking: Blocking | None = None
        """The threads that work for the run."""
        self.job: asyncio.Task[None] | None = None
        self._cancellation: Cancellation | None = None
        self._asked: list[Cancellation] = []
        """All that were, of which a settled run has none left."""
        self.settling = False
        """Whether the handler has ended: nothing runs any more, and its end is being written."""
        self.over = False
        """Whether what became of it is written, or nobody's any more."""
        self.ending: Ending | None = None
        """Why it is ended from outside; the first reason counts."""
        self.leased_until = float("inf")
        """By the monotonic clock: from then on another worker may run it."""
        self.write_down: Callable[[str], None] | None = None
        """Told how the run has ended, for the audit; `told` does it once."""

    @property
    def in_thread(self) -> bool:
        """Whether a thread works for it, which nothing ends but itself and the process."""
        return self.blocking is not None and self.blocking.working > 0

    async def ask(self, questions: Mapping[str, Question[Any]]) -> dict[str, Any]:
        """The answers that there are; raises `InputRequired`, or `InvalidClientAnswer` where it was asked too often."""
        try:
            return await self.rounds.ask(questions)
        except InputRequired:
            tries = self.record.rounds.tries
            worn = [key for key, one in self.rounds.asked.items() if tries.get(pin(key, one), 0) >= MAX_ASKED]
            if not worn:
                raise
            for key in worn:
                del self.rounds.asked[key]
            raise InvalidClientAnswer("The client's answers are not what was asked for.") from None

    async def send(self, message: bytes) -> None:
        """A task has no stream: its client looks when it likes."""

    async def pause(self, retry_ms: int) -> None:
        """Nothing to let go."""

    def told(self, outcome: str) -> None:
        """It has ended, or goes on though its process ends: each run has one line.

        What a handler makes of a client's word, or of an end that its record tells already, is nobody's.
        """
        write_down, self.write_down = self.write_down, None
        if write_down is not None:
            write_down(f"task_{self.ending}" if self.ending in ("cancelled", "failed") else outcome)

    def stop(self, ending: Ending) -> None:
        """End the run; what the handler still returns is nobody's."""
        if self.ending is None:
            self.ending = ending
            self.cancel(ending)

    def cancel(self, reason: Ending) -> None:
        """Cancel the handler, and again where it swallows that; what it returns is the run's."""
        if self.job is not None:
            self._cancel_no_more()
            self._cancellation = Cancellation(self.job, self.record.tool, f"task_{reason}")
            self._asked.append(self._cancellation)
            self.job.add_done_callback(self._cancel_no_more)

    def end_again_at(self, when: float) -> None:
        """Its time is over before this, by the loop's clock: from here on its handler has swallowed that."""
        timer = asyncio.get_running_loop().call_at(when, self._late)
        if self.job is not None:
            self.job.add_done_callback(lambda _: timer.cancel())

    def _late(self) -> None:
        if not self.settling:
            self.cancel("failed")

    def settle(self) -> None:
        """The handler has ended: a further cancellation would be one of the writing."""
        self.settling = True
        self._cancel_no_more()
        for one in self._asked:  # else whoever asks by the task's count takes the writing for cancelled
            one.undo()
        self._asked.clear()

    def _cancel_no_more(self, _: object = None) -> None:
        if self._cancellation is not None:
            self._cancellation.over()


Run = Callable[[TaskInteraction], Awaitable[CallToolResult | RpcError]]


class MayHaveActed(Exception):
    """A handler has begun, and the store did not take its task: nobody shall be told that nothing has run."""


class Resumer(Protocol):
    """Who knows what the tools of this worker are, and can run a task that began elsewhere."""

    def retries(self, tool: str) -> bool | None:
        """Whether a tool's call may be made again where its worker was lost; None of a tool that is not here."""

    def resume(self, record: TaskRecord, job: bytes) -> Run | RpcError:
        """The call that a job tells of, as a run; or why it must not go on."""

    def ended(self, record: TaskRecord, outcome: str) -> None:
        """A task has failed without a run that could have written it down: `task_lost`, or `task_failed`."""


class NewTask(msgspec.Struct, frozen=True, kw_only=True):
    """A new task: the call that becomes one; `job` makes of its id what another worker needs to run it.

    With `first`, what the handler asks before it awaits anything else is asked in the call. `place` is the call's slot
    of its caller's limit: the run keeps it, or a caller could run any number of calls as tasks. `retry` is whether the
    call may be made again where its worker is lost. It ends with the token of these `marks`, where that is revoked.
    """

    principal_key: str
    tool: str
    needed: frozenset[str]
    run: Run
    job: Callable[[str], bytes]
    first: ResumableInteraction | None = None
    place: Place | None = None
    retry: bool = False
    marks: TokenMarks | None = None


def begins(begun: NewTask, worker: str, ttl_s: float) -> TaskRecord:
    """The record of a call that becomes a task of this worker."""
    now = time.time()
    return TaskRecord(
        id=secrets.token_urlsafe(24),
        principal_key=begun.principal_key,
        tool=begun.tool,
        needed=begun.needed,
        worker=worker,
        created_at=now,
        updated_at=now,
        ttl_s=ttl_s,
        marks=begun.marks,
        told=begun.first is not None,
    )


def hold_slots(limiter: ConcurrencyLimiter, begun: NewTask) -> Callable[[], None]:
    """Hold the slots of a call; returns what gives them back."""
    place = begun.place
    if place is not None:
        place.hold()

    def release() -> None:
        limiter.release(begun.principal_key)
        if place is not None:
            place.release()

    return release


def refusing(error: RpcError) -> Run:
    """The run of what must not go on."""

    async def refused(_: TaskInteraction) -> RpcError:
        return error

    return refused


def asking(record: TaskRecord, carried: ResumableInteraction) -> TaskRecord:
    """The record of a task whose handler has asked: each question under a key that none of this task had before."""
    old = record.rounds
    rounds = Rounds(answers=dict(carried.kept), notes=carried.notes, tries=dict(old.tries), used=list(old.used))
    questions = {}
    for key, question in carried.asked.items():
        name = _fresh(key, rounds.used)
        rounds.used.append(name)
        rounds.put[name] = pinned = pin(key, question)
        rounds.tries[pinned] = rounds.tries.get(pinned, 0) + 1
        questions[name] = question.request
    return record.moved("input_required", questions=questions, rounds=rounds, worker="")


def answered(record: TaskRecord, responses: Mapping[str, Raw]) -> TaskRecord | None:
    """The record with answers to its open questions; None where they answer none. With the last one it works again."""
    taken = [name for name in record.questions if name in responses]
    if record.status != "input_required" or not taken:
        return None
    rounds = record.rounds
    answers = {**rounds.answers, **{rounds.put[name]: responses[name] for name in taken}}
    put = {name: pinned for name, pinned in rounds.put.items() if name not in taken}
    questions = {name: one for name, one in record.questions.items() if name not in taken}
    changed = msgspec.structs.replace(rounds, answers=answers, put=put)
    return record.moved("input_required" if questions else "working", questions=questions, rounds=changed)


def _fresh(key: str, used: list[str]) -> str:
    name, number = key, 1
    while name in used:
        number += 1
        name = f"{key}-{number}"
    return name
