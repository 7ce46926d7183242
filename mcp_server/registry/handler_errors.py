"""Containment of what a handler raises: nothing that an author's code throws ends a request, a thread or the server.

Only an `Exception`, `InputRequired` (the handler asks) and the cancellation of the call itself go on from here. What
else there is would do harm above: SystemExit and KeyboardInterrupt end the event loop that meets them, GeneratorExit
and a stray CancelledError a request without an answer; whoever awaits a Future that got StopIteration waits for ever.
"""

import asyncio
import traceback
from collections.abc import Iterator
from typing import Any, Final

from mcp_server.authoring.errors import MissingCapability, ProtocolError, ResourceNotFound, ToolError
from mcp_server.authoring.interaction import InputRequired
from mcp_server.registry.requirement import NeedsScopes
from mcp_server.store.backend import StoreUnavailable

_SPOKEN: Final = (NeedsScopes, ToolError, ProtocolError, ResourceNotFound, MissingCapability, StoreUnavailable)
"""Exceptions that mean something to whoever called the handler; a TaskGroup must not hide that."""


def contained(error: BaseException) -> BaseException:
    """What goes on in place of what a handler raised: often the same.

    A group of a TaskGroup is looked into: an unforeseen error in it is the handler's failure; else what its tasks told
    is told; else they ask, all at once.
    """
    if isinstance(error, BaseExceptionGroup):
        traceback.clear_frames(error.__traceback__)  # a TaskGroup's own has it, and would keep it in a circle
        return _of_group(error)
    if isinstance(error, InputRequired) or (isinstance(error, Exception) and not isinstance(error, StopIteration)):
        return error
    failed = RuntimeError(f"the handler raised {type(error).__name__}")
    failed.__cause__ = error
    return failed


def ends_the_call(error: BaseException) -> bool:
    """Whether an exception comes from outside the handler: the call is cancelled, or thrown away.

    A handler that raises CancelledError by itself, as one does that awaits a cancelled task, was cancelled by nobody
    (`Task.cancelling`). GeneratorExit is what Python closes a coroutine with that no task runs any more.
    """
    if not isinstance(error, asyncio.CancelledError | GeneratorExit):
        return False
    task = _running_task()
    return task is None or (isinstance(error, asyncio.CancelledError) and task.cancelling() > 0)


def _of_group(group: BaseExceptionGroup[BaseException]) -> BaseException:
    leaves = list(_leaves(group))
    unforeseen = [one for one in leaves if not isinstance(one, (*_SPOKEN, InputRequired, asyncio.CancelledError))]
    spoken = [one for one in leaves if isinstance(one, _SPOKEN)]
    asks = [one for one in leaves if isinstance(one, InputRequired)]
    if not unforeseen and (spoken or asks):
        return (spoken or asks)[0]
    if isinstance(group, Exception):
        return group
    failed = RuntimeError("the handler's tasks raised what is no Exception")
    failed.__cause__ = group
    return failed


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for one in group.exceptions:
        if isinstance(one, BaseExceptionGroup):
            yield from _leaves(one)
        else:
            yield one


def _running_task() -> "asyncio.Task[Any] | None":
    try:
        return asyncio.current_task()
    except RuntimeError:  # no loop runs: the interpreter throws away what is left
        return None
