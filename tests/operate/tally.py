"""The file in which each execution of a tool leaves a line as it begins and one as it ends."""

import asyncio
import functools
import os
from typing import Final

TALLY: Final = "OPERATE_TALLY"
"""The environment variable that names it."""


def tally(call: str, what: str) -> None:
    """One line; a write this short at the end of a file is one step, whoever else writes."""
    os.write(_file(), f"{call} {what} {os.getpid()}\n".encode())


@functools.cache
def _file() -> int:
    """Open for as long as the worker lives: a section takes descriptors away."""
    return os.open(os.environ[TALLY], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


async def counted(call: str, seconds: float) -> str:
    """Take so long, and be counted at both ends."""
    tally(call, "begun")
    await asyncio.sleep(seconds)
    tally(call, "ended")
    return f"done {call}"
