"""How a worker of granian ends: by the drain, at a signal, and with its parent."""

import asyncio
import contextlib
import ctypes
import functools
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Final

from mcp_server.app import McpPlugin
from mcp_server.engine.drain import DrainTimes
from mcp_server.forking import end_children_by_signals
from mcp_server.observe.log import flush, logger

_PR_SET_PDEATHSIG: Final = 1
SETTLED_S: Final = 1.0
"""After this the request of a connection that was just accepted is there, or its client is slow; where nobody else is
to take requests (`lame_duck_s` 0) nothing is waited for."""


def end_at_once() -> None:
    """From here a signal to stop ends the process, until there is something to drain.

    The parent's handler, which a fork has too, would set a flag that nobody looks at here; and granian's, in the middle
    of a start, has the worker neither begin nor end.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_children_by_signals()


def end_while_starting() -> None:
    """The same, once granian has put its handlers on the loop."""
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, os._exit, 0)


def drain_on_signal(plugin: McpPlugin, times: DrainTimes, port: int, parent: int) -> None:
    """Take SIGTERM over from granian, which stops accepting at once and then waits for streams that we would close.

    Granian sets its handlers before the application's startup, and SIGINT stays its own: that is how it is told to stop
    once the drain has come so far. Ctrl-C reaches workers as both, and streams end then, too.
    """
    stop = functools.partial(_stop_accepting, port, min(SETTLED_S, times.lame_duck_s))
    leave = functools.partial(_leave, plugin)
    begin = functools.partial(plugin.drain.begin, times, stop, leave)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, begin)
    if os.getppid() != parent:  # it went while this one started
        begin()


def end_with_parent(parent: int) -> None:
    """Be told to stop when the parent is gone: killed, it could not say so.

    An orphan would go on serving beside the next server, with the old code and the old secrets (`SO_REUSEPORT`).
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it went between the fork and here
        os.kill(os.getpid(), signal.SIGTERM)


def _stop_accepting(port: int, settled_s: float) -> None:
    """First take no new connections, then have granian close those that are idle.

    It does both at once, and closes also a connection that it has just accepted, on which the request is still on its
    way. Other workers accept from the same queue.
    """
    asyncio.get_running_loop().call_later(settled_s, os.kill, os.getpid(), signal.SIGINT)
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # no descriptor is free
            let_others_accept(port)


def let_others_accept(port: int) -> None:
    """Put a socket that nobody connects to in the place of each with which this process listens on a port."""
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind("")  # the kernel finds an abstract name
        silent.listen(1)
        silent.setblocking(False)
        for one in list(Path("/proc/self/fd").iterdir()):
            if _listens(int(one.name), port):
                os.dup2(silent.fileno(), int(one.name))


def _listens(descriptor: int, port: int) -> bool:
    try:
        with socket.socket(fileno=os.dup(descriptor)) as one:
            tcp = one.family in (socket.AF_INET, socket.AF_INET6)
            listens = tcp and one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
            return bool(listens and one.getsockname()[1] == port)
    except OSError:  # no socket, or the list of descriptors itself
        return False


def _leave(plugin: McpPlugin) -> None:
    """All the time is over, and a connection is still open: close what is ours, and go."""
    _leaving.append(asyncio.get_running_loop().create_task(_close_and_exit(plugin)))


_leaving: list[asyncio.Task[None]] = []
"""Held: a task that nothing refers to may be collected."""


async def _close_and_exit(plugin: McpPlugin) -> None:
    """Go, whatever does not close: nobody but the parent would end this process, by a signal and much later."""
    try:
        if not await plugin.close_now():
            return
    except Exception:  # noqa: BLE001 - all others are closed by then
        logger.exception("something did not close as it should")
    logger.warning("connections are left open: their clients do not read, or never end their requests")
    flush()
    os._exit(0)
