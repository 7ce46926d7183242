"""The extension `io.modelcontextprotocol/tasks`: a task as it stands on the wire (ext-tasks §Task)."""

from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET, Raw, UnsetType

from mcp_server.protocol.types.inputs import InputRequest
from mcp_server.protocol.types.results import Result

EXTENSION: Final = "io.modelcontextprotocol/tasks"
Status = Literal["working", "input_required", "completed", "failed", "cancelled"]
TERMINAL: Final = frozenset({"completed", "failed", "cancelled"})


class Task(Result, frozen=True, rename="camel", kw_only=True):
    """A task; `created_at` and `last_updated_at` are ISO 8601, `ttl_ms` and `poll_interval_ms` milliseconds."""

    task_id: str
    status: Status
    created_at: str
    last_updated_at: str
    ttl_ms: int
    poll_interval_ms: int


class DetailedTask(Task, frozen=True, rename="camel", kw_only=True):
    """A task with what belongs to its status: questions, a result or a JSON-RPC error."""

    input_requests: dict[str, InputRequest] | UnsetType = UNSET
    result: Raw | UnsetType = UNSET
    error: Any | UnsetType = UNSET


class TaskParams(msgspec.Struct, frozen=True, rename="camel"):
    """Which task."""

    task_id: str


class UpdateTaskParams(msgspec.Struct, frozen=True, rename="camel"):
    """Answers to a task's questions; whatever key is unknown is ignored."""

    task_id: str
    input_responses: dict[str, Raw]
