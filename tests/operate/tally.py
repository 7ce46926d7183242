"""The file in which each execution of a tool leaves a line as it begins and one as it ends."""

import asyncio
import os
from typing import Final

TALLY: Final = "OPERATE_TALLY"
"""The environment variable that names it."""


def tally(call: str, what: str) -> None:
    """One line; a write this short at the end of a file is one step, whoever else writes."""
    line = f"{call} {what} {os.getpid()}\n".encode()
    file = os.open(os.environ[TALLY], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, line)
    finally:
        os.close(file)


async def counted(call: str, seconds: float) -> str:
    """Take so long, and be counted at both ends."""
    tally(call, "begun")
    await asyncio.sleep(seconds)
    tally(call, "ended")
    return f"done {call}"
