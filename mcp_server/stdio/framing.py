"""Lines of a pipe: read by a thread, with a bound; one that is too long is passed over, and its client told."""

import asyncio
import contextlib
import threading
from typing import BinaryIO, Final

MAX_LINE: Final = 16 * 1024 * 1024
QUEUED: Final = 64
"""Lines read ahead: behind them the client's own pipe fills, and it waits."""


class LineTooLong:
    """Stands for a line that is over the bound."""


Line = bytes | LineTooLong


def lines(source: BinaryIO, max_line: int = MAX_LINE) -> "asyncio.Queue[Line | None]":
    """The lines of a blocking file, read by a thread that ends with the process; None is the end."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[Line | None] = asyncio.Queue(maxsize=QUEUED)

    def put(line: Line | None) -> None:
        asyncio.run_coroutine_threadsafe(queue.put(line), loop).result()

    def read() -> None:
        try:
            while line := source.readline(max_line + 1):
                if len(line) <= max_line:
                    put(line)
                else:
                    put(LineTooLong())
                    _skip(source, line, max_line)
        except (OSError, ValueError):  # a socket that was reset, a terminal that has gone: the client has ended
            pass
        finally:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                put(None)

    threading.Thread(target=read, name="stdin", daemon=True).start()
    return queue


def _skip(source: BinaryIO, line: bytes, max_line: int) -> None:
    """Read to the end of a line without keeping it."""
    while line and not line.endswith(b"\n"):
        line = source.readline(max_line)
