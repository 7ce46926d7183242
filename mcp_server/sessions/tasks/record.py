"""A task as it is stored, and as its client sees it (ext-tasks)."""

import secrets
import time
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from mcp_server.protocol import errors
from mcp_server.protocol.types.inputs import InputRequest
from mcp_server.protocol.types.tasks import TERMINAL, DetailedTask, Status, Task
from mcp_server.store.backend import OVERHEAD, StateBackend, StoreFull, owner_of

POLL_MS: Final = 1000
GRACE_S: Final = 60.0
RESERVED: Final = 1024
"""Bytes that a task is counted with from its beginning: its record, and how it ended, can then always be told."""
_VERSION: Final = 16
"""Characters before a record's JSON, new at each write: what a later write says that it replaces."""


class TaskRecord(msgspec.Struct, kw_only=True):
    """A task as it is stored; times are in seconds since the epoch.

    `needed` are the scopes that its tool asked for when it began: a tool that is gone guards its results no more.
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

    @property
    def over(self) -> bool:
        """Whether its status is terminal: it changes no more."""
        return self.status in TERMINAL

    def move(self, status: Status, *, result: Raw | UnsetType = UNSET, error: dict[str, Any] | None = None) -> None:
        """Change its status; with a terminal one nothing is asked any more."""
        self.status, self.updated_at = status, time.time()
        if status in TERMINAL:
            self.questions, self.result, self.error = {}, result, error

    def left_s(self) -> float:
        """The seconds that its record is kept for, by the clock of who looks: clocks may be set, and differ."""
        whole = self.ttl_s + GRACE_S
        return min(max(self.created_at + whole - time.time(), GRACE_S), whole)

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
    record = _decode(memoryview(stored)[_VERSION:])
    record.version = stored[:_VERSION].decode("ascii")
    return record


class TooMuchKept(StoreFull):
    """One principal's tasks would keep more than its bound."""


class TaskStore:
    """The records of tasks. Each write replaces the version that was read, or raises `VersionConflict`.

    A worker whose sign of life lapsed is held for dead and its tasks for failed; it may live, and must not write
    another end over that one.
    """

    def __init__(self, backend: StateBackend, max_kept: int) -> None:
        self._backend, self._max_kept = backend, max_kept

    async def read(self, task_id: str) -> TaskRecord | None:
        """A task as it stands."""
        return await read(self._backend, task_id)

    async def has_room(self, principal_key: str) -> bool:
        """Whether one more of this principal's may begin."""
        held = await self._backend.held("task", owner_of(principal_key))
        return held + RESERVED + OVERHEAD <= self._max_kept

    async def write(self, record: TaskRecord, left_s: float, counted: int = 0) -> int:
        """Keep a record; what it grows by must fit into its owner's bound, how it failed is always written.

        `left_s` is how long it is kept for; `counted` what its owner was charged with so far, what it is charged with
        now is returned. Raises `TooMuchKept`.
        """
        version = secrets.token_hex(_VERSION // 2)
        data = version.encode("ascii") + _encode(msgspec.structs.replace(record, version=""))
        grows = record.error is None and len(data) > counted
        if grows:
            counted = await self._grow(record, data, left_s, counted)
        else:
            owner, replaces = owner_of(record.principal_key), record.version.encode("ascii")
            await self._backend.set(_key(record.id), data, left_s, owner, replaces=replaces)
        record.version = version
        return counted

    async def _grow(self, record: TaskRecord, data: bytes, left_s: float, counted: int) -> int:
        size = max(len(data), RESERVED)
        kept = await self._backend.keep(
            _key(record.id),
            data,
            left_s,
            owner=owner_of(record.principal_key),
            limit=self._max_kept,
            charge=size - counted,
            replaces=record.version.encode("ascii"),
        )
        if not kept:
            raise TooMuchKept("too much is kept of this principal's tasks")
        return size


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
