"""A task as it is stored, and as its client sees it (ext-tasks)."""

import secrets
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from mcp_server.identity import TokenMarks
from mcp_server.protocol import errors
from mcp_server.protocol.types.inputs import InputRequest
from mcp_server.protocol.types.tasks import TERMINAL, DetailedTask, Status, Task
from mcp_server.store.backend import OVERHEAD, StateBackend, StoreFull, StoreUnavailable, VersionConflict, owner_of
from mcp_server.store.jobs.queue import VERSION, Move, Then
from mcp_server.store.records import decoded

POLL_MS: Final = 1000
GRACE_S: Final = 60.0
RESERVED: Final = 1024
"""Bytes that a task is counted with from its beginning: its record, and how it ended, can then always be told."""
MAX_CONFLICTS: Final = 5
_FENCE: Final = 4
"""Digits of the attempt at the beginning of a version."""


class Rounds(msgspec.Struct, kw_only=True):
    """What a handler that asks finds when it runs again: answers by pin, and its notes.

    `put` has the pins of the questions that are open, `tries` how often each was put, `used` the keys that were.
    """

    answers: dict[str, Raw] = msgspec.field(default_factory=dict)
    notes: dict[str, Any] = msgspec.field(default_factory=dict)
    put: dict[str, str] = msgspec.field(default_factory=dict)
    tries: dict[str, int] = msgspec.field(default_factory=dict)
    used: list[str] = msgspec.field(default_factory=list)


class TaskRecord(msgspec.Struct, kw_only=True, frozen=True):
    """A task as it is stored; times are in seconds since the epoch.

    `needed` are the scopes that its tool asked for when it began: a tool that is gone guards its results no more.
    `worker` runs it, nobody where it waits to be run. `attempt` counts the times that a worker began to run it, and is
    the fencing number; `lost` counts those whose worker was lost. `marks` are those of the token that it runs by, which
    may be revoked while no worker has it. `counted` and `job_size` are in bytes. Where it is not `told`, nobody knows
    whether its client has heard of it, and nobody runs it.
    """

    id: str
    principal_key: str
    tool: str
    needed: frozenset[str]
    worker: str
    created_at: float
    updated_at: float
    ttl_s: float
    status: Status = "working"
    questions: dict[str, InputRequest] = msgspec.field(default_factory=dict)
    result: Raw | UnsetType = UNSET
    error: dict[str, Any] | None = None
    version: str = ""
    attempt: int = 1
    lost: int = 0
    rounds: Rounds = msgspec.field(default_factory=Rounds)
    marks: TokenMarks | None = None
    counted: int = 0
    job_size: int = 0
    told: bool = True

    @property
    def over(self) -> bool:
        """Whether its status is terminal: it changes no more."""
        return self.status in TERMINAL

    def moved(self, status: Status, **changes: Any) -> "TaskRecord":
        """The record with another status; with a terminal one nothing is asked any more, and nothing is to be run."""
        if status in TERMINAL:
            changes = {"questions": {}, "rounds": Rounds(), "worker": "", "job_size": 0, **changes}
        return msgspec.structs.replace(self, status=status, updated_at=time.time(), **changes)

    def wire(self) -> DetailedTask:
        """The task as `tasks/get` shows it."""
        return DetailedTask(
            **_common(self),
            input_requests=self.questions if self.status == "input_required" else UNSET,
            result=self.result,
            error=UNSET if self.error is None else self.error,
        )

    def created(self) -> Task:
        """The task as the call that made it is answered: flat, without what `tasks/get` adds."""
        return Task(**_common(self), result_type="task")


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(TaskRecord).decode


async def read(backend: StateBackend, task_id: str) -> TaskRecord | None:
    """A task as it stands on whatever worker."""
    stored = await backend.get(_key(task_id))
    if stored is None:
        return None
    return decoded(_stored, stored, "task")


def _stored(stored: bytes) -> TaskRecord:
    """The version, then the record."""
    record = _decode(memoryview(stored)[VERSION:])
    return msgspec.structs.replace(record, version=stored[:VERSION].decode("ascii"))


class TooMuchKept(StoreFull):
    """One principal's tasks would keep more than its bound."""


class TaskStore:
    """The records of tasks. Each write replaces the version that was read, or raises `VersionConflict`.

    A version begins with the attempt that wrote it, the fencing number: a worker that was held for lost may live, and
    must not write another end over the one that was given.
    """

    def __init__(self, backend: StateBackend, max_kept: int) -> None:
        self._backend, self._max_kept = backend, max_kept

    async def read(self, task_id: str) -> TaskRecord | None:
        """A task as it stands."""
        return await read(self._backend, task_id)

    async def change(self, record: TaskRecord, write: Callable[[TaskRecord], Awaitable[bool]]) -> bool:
        """Have `write` change a record; after a conflict it is called with what another worker has made of it.

        Optimistic concurrency control: raises `StoreUnavailable` after too many conflicts. Whether `write` wrote.
        """
        for _ in range(MAX_CONFLICTS):
            try:
                return await write(record)
            except VersionConflict:
                again = await self.read(record.id)
                if again is None:
                    return False
                record = again
        raise StoreUnavailable("a task's record is changed all the time")

    async def has_room(self, principal_key: str) -> bool:
        """Whether one more of this principal's may begin."""
        held = await self._backend.held("task", owner_of(principal_key))
        return held + RESERVED + OVERHEAD <= self._max_kept

    async def write(self, record: TaskRecord, then: Then, *, version: str = "", job: bytes = b"") -> TaskRecord:
        """Keep a record; what it grows by must fit into its owner's bound, how it failed is always written.

        Said again with the same `version` it is written once, and it is said again where the store has not answered: it
        may have been done. Raises `TooMuchKept`, and `StoreUnavailable` where nobody knows.
        """
        version = version or new_version(record)
        if job:
            record = msgspec.structs.replace(record, job_size=len(job))
        size = max(VERSION + len(_encode(record)) + record.job_size, RESERVED)
        charge = size - record.counted if record.error is None and size > record.counted else 0
        written = msgspec.structs.replace(record, version=version, counted=record.counted + charge)
        move = Move(
            id=record.id,
            record=version.encode("ascii") + _encode(msgspec.structs.replace(written, version="")),
            replaces=record.version,
            then=then,
            owner=owner_of(record.principal_key),
            limit=self._max_kept,
            charge=charge,
            ttl_s=None if record.version else record.ttl_s + GRACE_S,
            job=job,
        )
        try:
            fits = await self._backend.jobs.write(move)
        except StoreFull:
            raise
        except StoreUnavailable:
            fits = await self._backend.jobs.write(move)
        if not fits:
            raise TooMuchKept("too much is kept of this principal's tasks")
        return written


def new_version(record: TaskRecord) -> str:
    """The version of the next write of a record."""
    fence = f"{record.attempt:0{_FENCE}x}"[-_FENCE:]
    return fence + secrets.token_hex((VERSION - _FENCE) // 2)


def failure(message: str) -> dict[str, Any]:
    """The error of a task that failed for a reason of ours."""
    return {"code": errors.INTERNAL_ERROR, "message": message}


def _key(task_id: str) -> str:
    return f"task:{task_id}"


def _common(record: TaskRecord) -> dict[str, Any]:
    return {
        "task_id": record.id,
        "status": record.status,
        "created_at": _iso(record.created_at),
        "last_updated_at": _iso(record.updated_at),
        "ttl_ms": int(record.ttl_s * 1000),
        "poll_interval_ms": POLL_MS,
    }


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
