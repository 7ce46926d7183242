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


def install() -> None:
    """Mend `asyncio.TaskGroup` of this process, where that is needed; before there is a group."""
    if sys.version_info >= (3, 13):
        return
    leaves = asyncio.TaskGroup.__aexit__

    async def leaves_nothing(
        self: asyncio.TaskGroup,
        et: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        parent: asyncio.Task[object] = self._parent_task  # type: ignore[attr-defined]
        taken_back = self._parent_cancel_requested  # type: ignore[attr-defined]  # by Python, which looks here alone
        try:
            await leaves(self, et, exc, tb)
        except BaseExceptionGroup:
            if parent.cancelling() > (self._parent_cancel_requested and not taken_back):  # type: ignore[attr-defined]
                parent.uncancel()  # the count stays as it is: the next wait is to raise
                parent.cancel()
            raise
        finally:
            if self._parent_cancel_requested and not taken_back:  # type: ignore[attr-defined]
                parent.uncancel()

    asyncio.TaskGroup.__aexit__ = leaves_nothing  # type: ignore[method-assign]
