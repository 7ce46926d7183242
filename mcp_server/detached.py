"""Work of a worker as a whole, which begins in some request: what it logs, and does at a store, is of no request.

A task and a timer have the context of whoever makes them, so one that goes on for all has the first one's request and
trace for as long as it lives.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any


def task(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """A task of its own, in the running loop."""
    return asyncio.get_running_loop().create_task(work, context=Context())


def later(in_s: float, act: Callable[[], None]) -> asyncio.TimerHandle:
    """Act in so many seconds, in the running loop."""
    return asyncio.get_running_loop().call_later(in_s, act, context=Context())
