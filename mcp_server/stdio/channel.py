"""A call's channel on a pipe: what it says before its answer is a line beside others."""

import asyncio
import contextlib
import io
import select
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO, Final

from mcp_server.authoring.sink import Sink
from mcp_server.engine.call import Call, Standing
from mcp_server.engine.outcome import Denied, Outcome
from mcp_server.engine.supervisor import CallSupervisor
from mcp_server.identity import Credential
from mcp_server.stdio import answers

ATOMIC: Final = getattr(select, "PIPE_BUF", 0)
"""Bytes that a pipe takes without waiting once it takes any (POSIX, write(2)); Windows says it of none."""
CONVERSATION: Final = "stdio"
"""The process has one client, which cancels its requests by their ids; and one legacy session, named alike."""


class Output:
    """The client's end of the pipe, written by a thread: who reads slowly, or not, holds up its own answers alone.

    Where the loop waited for the reader, no call had an end, no time was over, and no signal was heard. One line is on
    its way at a time and each is written whole; who is cancelled while it waits for its turn says nothing.
    """

    def __init__(self, file: io.RawIOBase | BinaryIO) -> None:
        self._file = file
        self._thread = ThreadPoolExecutor(1, "stdout")
        self._turn = asyncio.Lock()
        self._writing: asyncio.Future[None] | None = None
        self._over = False

    async def send(self, message: bytes) -> None:
        """One line."""
        line = message + b"\n"
        async with self._turn:
            if self._writing is not None:  # of one who was cancelled meanwhile
                await asyncio.wait([self._writing])
                self._writing = None
            if self._over:
                return
            if self._has_room(line):
                self._write(line)
                return
            self._writing = asyncio.get_running_loop().run_in_executor(self._thread, self._write, line)
            await asyncio.wait([self._writing])
            self._writing = None

    def close(self) -> None:
        """No more is said; what a reader keeps waiting is not waited for."""
        self._over = True
        self._thread.shutdown(wait=False)

    def _has_room(self, line: bytes) -> bool:
        """Whether it is written at once, as nearly every line is: a thread would cost as much as a quick call."""
        try:
            return len(line) <= ATOMIC and bool(select.select((), (self._file,), (), 0)[1])
        except (OSError, ValueError):  # no file of the system's, or one of Windows
            return False

    def _write(self, line: bytes) -> None:
        left = memoryview(line)
        # Who reads no more has closed, or will close, the other pipe too.
        with contextlib.suppress(OSError, ValueError):
            while left:  # a file without a buffer takes what there is room for
                if (taken := self._file.write(left)) is None:
                    select.select((), (self._file,), ())  # whoever has made the pipe has it not wait
                else:
                    left = left[taken:]
            self._file.flush()


class PipeChannel:
    """What one request may say beside its answer: nothing any more once it is answered or cancelled."""

    address = ""
    conversation = CONVERSATION
    hung_up: Callable[[], Awaitable[None]] | None = None  # who closes the pipe ends the process
    quiet_s: float | None = None
    supervisor: CallSupervisor | None = None
    standing: Standing = ()

    def __init__(
        self, output: Output, caller: str, credential: Credential | None = None, *, alone: bool = True
    ) -> None:
        """`alone` is whether the answer has no others' in it."""
        self._output, self.caller, self.credential, self._alone = output, caller, credential, alone
        self._over = False
        self.answered = False
        """Whether it has been answered for its handler."""
        self._early: asyncio.Task[None] | None = None

    def header(self, name: str) -> str | None:
        """A pipe has none."""

    def begun(self, needed: frozenset[str], about: tuple[str, str]) -> None:
        """Nobody comes back to a pipe."""

    def open_sink(self) -> Sink:
        """The pipe itself."""
        return self

    def denied_status(self, call: Call, denied: Denied) -> int:
        """A pipe has none."""
        return 0

    def is_of(self, output: Output) -> bool:
        """Whether it belongs to this pipe."""
        return self._output is output

    def answer_for(self, call: Call, outcome: Outcome) -> None:
        """The line that the handler would have had."""
        if not self._alone:
            return
        self.answered = True
        self.silence()
        if (line := answers.render(call.request.id, outcome)) is not None:
            self._early = asyncio.create_task(self._output.send(line))

    def silence(self) -> None:
        """Nothing more is said for this request."""
        self._over = True

    async def stay_open(self) -> None:
        """A pipe stays open by itself."""

    async def send(self, message: bytes) -> None:
        """One line, unless the request is over."""
        if not self._over:
            await self._output.send(message)

    async def pause(self, retry_ms: int) -> None:
        """A pipe is not let go."""
