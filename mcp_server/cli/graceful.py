"""How a worker of granian ends: by the drain, at a signal, and with its parent."""

import asyncio
import ctypes
import functools
import os
import signal
import sys
from typing import Final

from mcp_server.app import McpPlugin
from mcp_server.engine.drain import DrainTimes
from mcp_server.observe.log import logger

_PR_SET_PDEATHSIG: Final = 1


def drain_on_signal(plugin: McpPlugin, times: DrainTimes) -> None:
    """Take SIGTERM over from granian, which stops accepting at once and then waits for streams that we would close.

    Granian sets its handlers before the application's startup, and SIGINT stays its own: that is how it is told to stop
    once the drain has come so far. Ctrl-C reaches workers as both, and streams end then, too.
    """
    stop = functools.partial(os.kill, os.getpid(), signal.SIGINT)
    leave = functools.partial(_leave, plugin)
    begin = functools.partial(plugin.drain.begin, times, stop, leave)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, begin)


def end_with_parent(parent: int) -> None:
    """Be told to stop when the parent is gone: killed, it could not say so.

    An orphan would go on serving beside the next server, with the old code and the old secrets (`SO_REUSEPORT`).
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it went between the fork and here
        os.kill(os.getpid(), signal.SIGTERM)


def _leave(plugin: McpPlugin) -> None:
    """All the time is over, and a connection is still open: close what is ours, and go."""
    _leaving.append(asyncio.get_running_loop().create_task(_close_and_exit(plugin)))


_leaving: list[asyncio.Task[None]] = []
"""Held: a task that nothing refers to may be collected."""


async def _close_and_exit(plugin: McpPlugin) -> None:
    if await plugin.close_now():
        logger.warning("connections are left open: their clients do not read, or never end their requests")
        os._exit(0)
