"""Supervised background tasks: whatever ends one is reported, and after a pause it begins again."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from mcp_server.observe.log import logger

RESTART_S: Final = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Pauses before a job that ended begins again; the last one repeats."""
HEALTHY_S: Final = 60.0
"""A job that ran so long before it ended begins again after the first pause."""


async def supervise(
    name: str,
    job: Callable[[], Awaitable[None]],
    *,
    pauses: tuple[float, ...] = RESTART_S,
    healthy_s: float = HEALTHY_S,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Run a job that should never end, again and again, until it is cancelled.

    A task that died of one bad answer is missed by nobody: what it kept fresh goes stale hours later.
    """
    now = asyncio.get_running_loop().time
    ended = 0
    while True:
        began = now()
        error: Exception | None = None
        try:
            await job()
        except Exception as raised:  # noqa: BLE001 - whatever it is, a job that runs no more is worse
            error = raised
        ended = 0 if now() - began >= healthy_s else ended
        pause = pauses[min(ended, len(pauses) - 1)]
        ended += 1
        logger.opt(exception=error).error("a background task ended", task=name, again_in_s=pause)
        del error  # with its traceback and this frame it would be a circle
        await sleep(pause)
