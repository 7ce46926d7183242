"""A task as it is stored, and as its client sees it (ext-tasks)."""

import time
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from mcp_server.protocol import errors
from mcp_server.protocol.types.inputs import InputRequest
from mcp_server.protocol.types.tasks import DetailedTask, Status, Task

POLL_MS: Final = 1000
GRACE_S: Final = 60.0


class TaskRecord(msgspec.Struct, kw_only=True):
    """A task as it is stored; times are in seconds since the epoch."""

    id: str
    principal_key: str
    tool: str
    worker: str
    created_at: float
    updated_at: float
    ttl_s: float
    status: Status = "working"
    questions: dict[str, InputRequest] = msgspec.field(default_factory=dict)
    result: Raw | UnsetType = UNSET
    error: dict[str, Any] | None = None

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


def failure(message: str) -> dict[str, Any]:
    """The error of a task that failed for a reason of ours."""
    return {"code": errors.INTERNAL_ERROR, "message": message}


def left(record: TaskRecord) -> float:
    """The seconds that its record is kept for."""
    return max(record.created_at + record.ttl_s + GRACE_S - time.time(), 1.0)


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
