"""Backport of two fixes of Python 3.13 to how a TaskGroup that failed cancels its parent (gh-116720).

It takes back its own request. Before, a group whose task fails while it is waited for leaves its parent's count
(`Task.cancelling`) one too high. Whoever asks by that count who wants a task to end (`asyncio.timeout`,
`registry.handler_errors`, the supervisor of a call) took each later cancellation, and a CancelledError of the handler's
own, for somebody else's: no answer came. Nothing but the count tells the two apart.

And it passes on another's. One CancelledError ends the wait for the group, whoever asked for it: where a time was over
in the turn in which a task failed, the handler got the failure alone, and went on as long as it liked.

Python 3.11 and 3.12 have security fixes alone.
"""

import asyncio
import sys
from types import TracebackType
from typing import Any


def install() -> None:
    """Mend `asyncio.TaskGroup` of this process, where that is needed; before there is a group."""
    if sys.version_info >= (3, 13):
        return
    enters, leaves = asyncio.TaskGroup.__aenter__, asyncio.TaskGroup.__aexit__

    async def enters_counted(self: Any) -> asyncio.TaskGroup:
        group: asyncio.TaskGroup = await enters(self)
        parent = self._parent_task
        self._cancelling_before = _due.get(parent, parent.cancelling())
        return group

    async def leaves_nothing(
        self: Any, et: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        parent, before = self._parent_task, self._cancelling_before
        taken_back = self._parent_cancel_requested  # by Python, which looks here alone
        failed = False
        try:
            await leaves(self, et, exc, tb)
        except BaseExceptionGroup:
            failed = True
            raise
        finally:
            if self._parent_cancel_requested and not taken_back:
                parent.uncancel()
            if failed and parent.cancelling() > before:
                _due[parent] = min(before, _due.get(parent, before))
                asyncio.get_running_loop().call_soon(_cancel_again, parent)

    asyncio.TaskGroup.__aenter__ = enters_counted  # type: ignore[method-assign,assignment]
    asyncio.TaskGroup.__aexit__ = leaves_nothing  # type: ignore[method-assign]


_due: "dict[asyncio.Task[Any], int]" = {}
"""Counts before what is still to be passed on: of a group that is entered meanwhile it is another's request, too."""


def _cancel_again(task: "asyncio.Task[Any]") -> None:
    """Cancel a task that was, unless whoever asked for it has taken that back; the count stays as it is.

    Not in the turn itself: a request that no wait of the handler's has met would meet the next one of whoever called
    it, for these Pythons do not forget it with the count.
    """
    before = _due.pop(task, None)
    if before is not None and not task.done() and task.cancelling() > before:
        task.cancel()
        task.uncancel()
