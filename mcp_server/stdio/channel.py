"""A call's channel on a pipe: what it says before its answer is a line beside others."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import BinaryIO, Final

from mcp_server.authoring.sink import Sink
from mcp_server.engine.call import Call, Standing
from mcp_server.engine.outcome import Denied, Outcome
from mcp_server.engine.supervisor import CallSupervisor
from mcp_server.identity import Credential
from mcp_server.stdio import answers

CONVERSATION: Final = "stdio"
"""The process has one client, which cancels its requests by their ids; and one legacy session, named alike."""


class Output:
    """The client's end of the pipe."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    async def send(self, message: bytes) -> None:
        """One line."""
        with contextlib.suppress(OSError):  # who reads no more has closed, or will close, the other pipe too
            self._file.write(message + b"\n")
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
