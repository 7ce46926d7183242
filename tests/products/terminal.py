"""A terminal of a product's own: some log in only where they believe that a person sits in front of them."""

import asyncio
import contextlib
import fcntl
import os
import re
import signal
import struct
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

ESCAPES: Final = re.compile(rb"\x1b\[[0-9;?<>=]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(\x07|\x1b\\)|\x1b[()][A-Z0-9]|\x1b.|\r")
STOP_S: Final = 5.0


class Terminal:
    """A running program and what it has printed; it ends with the block of `opened`."""

    def __init__(self, process: asyncio.subprocess.Process, master: int) -> None:
        self.process, self._master = process, master
        self._printed = b""
        self._more = asyncio.Event()
        asyncio.get_running_loop().add_reader(master, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._master, 65536)
        except OSError:  # its last process has closed it
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._master)
        for asked, answer in ANSWERS.items():
            if asked in data:
                self.type(answer)
        self._printed += data
        self._more.set()

    @property
    def screen(self) -> str:
        """Everything printed so far, without colours and movements."""
        return ESCAPES.sub(b"", self._printed).decode(errors="replace")

    def type(self, keys: bytes) -> None:
        """Press keys."""
        with contextlib.suppress(OSError):
            os.write(self._master, keys)

    async def until(self, *words: str, within_s: float = 60) -> str:
        """Wait until one of the words stands on the screen, spaces aside; the word. Raises `TimeoutError`."""
        async with asyncio.timeout(within_s):
            while True:
                seen = "".join(self.screen.split())
                for word in words:
                    if "".join(word.split()) in seen:
                        return word
                self._more.clear()
                await self._more.wait()

    async def ended(self, within_s: float = 60) -> int:
        """Wait for its end; the exit status. Raises `TimeoutError`."""
        async with asyncio.timeout(within_s):
            return await self.process.wait()

    async def stop(self) -> None:
        """End it and what it started."""
        asyncio.get_running_loop().remove_reader(self._master)
        for ending in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, ending)
            with contextlib.suppress(TimeoutError):
                await self.ended(STOP_S)
                break
        os.close(self._master)


ANSWERS: Final = {b"\x1b[6n": b"\x1b[1;1R", b"\x1b[c": b"\x1b[?62;c", b"\x1b]11;?": b"\x1b]11;rgb:0000/0000/0000\x07"}
"""What a terminal says when it is asked where its cursor is, what it can do, which colour it has."""


async def opened(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Terminal:
    """Start a program in a terminal, a session and a process group of its own."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
    try:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=folder, env=dict(environment), stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )
    finally:
        os.close(slave)
    return Terminal(process, master)
