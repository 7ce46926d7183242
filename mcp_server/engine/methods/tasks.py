"""`tasks/get`, `tasks/update`, `tasks/cancel`, and which calls become tasks (ext-tasks)."""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from mcp_server.engine.call import Call, Challenged
from mcp_server.identity import marks_of
from mcp_server.protocol import errors
from mcp_server.protocol.errors import RpcError
from mcp_server.protocol.types import tasks as types
from mcp_server.protocol.types.results import Result
from mcp_server.protocol.types.tasks import TaskParams, UpdateTaskParams
from mcp_server.sessions.tasks import Tasks
from mcp_server.sessions.tasks.record import TaskRecord

_decode_task = msgspec.json.Decoder(TaskParams).decode
_decode_update = msgspec.json.Decoder(UpdateTaskParams).decode
REQUIRED: Final[dict[str, Any]] = {"extensions": {types.EXTENSION: {}}}


def declared(call: Call) -> bool:
    """Whether the client of this request knows tasks; legacy ones never do, and get whole results."""
    extensions = call.capabilities().get("extensions")
    return call.modern and isinstance(extensions, dict) and types.EXTENSION in extensions


async def answer(
    tasks: Tasks,
    call: Call,
    may_call: Callable[[TaskRecord], bool],
    weak_login: Callable[[TaskRecord], Challenged | None],
    renewed: Callable[[bytes, Call, str], bytes],
) -> tuple[Result, str] | Challenged | RpcError:
    """The owner's look at a task, answers to its questions, or its end; and the tool it runs, for the audit.

    A foreign task is as unknown as none. So is one that the present token may not look at. `renewed` makes of a job one
    that runs by the authorization of this call.
    """
    update: UpdateTaskParams | None = None
    try:
        if call.request.method == "tasks/update":
            update = _decode_update(call.request.params)
        task_id = update.task_id if update else _decode_task(call.request.params).task_id
    except errors.UNREADABLE as error:
        return errors.invalid_params(str(error))
    record = await tasks.find(task_id, call.owner) if len(task_id) <= 128 else None
    if record is None or not may_call(record):
        return errors.invalid_params("unknown task")
    if (challenged := weak_login(record)) is not None:
        return challenged
    if update is not None:
        marks = None if call.principal is None else marks_of(call.principal)
        await tasks.answer(record, update.input_responses, lambda task_id, job: renewed(job, call, task_id), marks)
    elif call.request.method == "tasks/cancel":
        await tasks.cancel(record)
    else:
        return record.wire(), record.tool
    return Result(), record.tool
