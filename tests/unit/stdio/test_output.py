"""The client's end of a pipe: lines are whole and in their order, and who does not read holds up nobody."""

import asyncio
import json
import os
from collections.abc import Iterator

import pytest

from mcp_server.engine.pipeline import Pipeline
from mcp_server.engine.runtime import EngineConfig, Runtime
from mcp_server.engine.supervisor import CallSupervisors
from mcp_server.stdio import transport
from mcp_server.stdio.channel import Output
from tests.kit import wire
from tests.kit.backends import settle
from tests.kit.calls import RememberingRecorder, limits
from tests.kit.servers.pipe import server

LONG = b"x" * 1_000_000
REQUESTS = 200
"""Whose answers are more than a pipe takes."""


class Pipe:
    """A pipe whose reader begins when it is told to."""

    def __init__(self) -> None:
        self.read, write = os.pipe()
        self.file = os.fdopen(write, "wb", buffering=0)
        self.output = Output(self.file)

    async def lines(self, number: int) -> list[bytes]:
        """So many lines."""

        def read() -> list[bytes]:
            with os.fdopen(os.dup(self.read), "rb") as file:
                return [file.readline().rstrip(b"\n") for _ in range(number)]

        return await asyncio.to_thread(read)

    def close(self) -> None:
        """Let a line that is on its way end."""
        os.close(self.read)
        self.output.close()
        self.file.close()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.close()


@pytest.mark.parametrize("waits", [True, False])
async def test_a_line_is_whole_whatever_the_pipe_takes_at_once(pipe: Pipe, *, waits: bool) -> None:
    os.set_blocking(pipe.file.fileno(), waits)  # a client may have made it so
    sent = asyncio.gather(*(pipe.output.send(one) for one in (LONG, b"short", LONG)))
    assert await pipe.lines(3) == [LONG, b"short", LONG]
    await sent


async def test_a_sender_that_is_cancelled_cuts_off_no_line(pipe: Pipe) -> None:
    first, waits = (asyncio.create_task(pipe.output.send(one)) for one in (LONG, b"never said"))
    await settle()
    first.cancel()
    waits.cancel()
    await asyncio.wait([first, waits])
    last = asyncio.create_task(pipe.output.send(b"last"))
    assert await pipe.lines(2) == [LONG, b"last"]
    await last


async def test_who_speaks_after_the_end_says_nothing(pipe: Pipe) -> None:
    pipe.output.close()
    for line in (b"short", LONG):
        await pipe.output.send(line)
    pipe.file.close()
    assert await pipe.lines(1) == [b""]


async def test_a_client_that_does_not_read_is_heard_to_its_end(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of its calls has its line, what it said wrongly too, and the process does not stay for it."""
    monkeypatch.setattr(transport, "CLOSE_S", 0.02)
    there, here = os.pipe()
    runtime, told = Runtime(server, EngineConfig(state_keys=(b"k" * 32,))), RememberingRecorder()
    pipeline = Pipeline(runtime, limits(), told, CallSupervisors())
    who = transport.desktop_user(frozenset({"mcp:read"}))

    def say() -> None:
        with os.fdopen(here, "wb") as file:
            for number in range(REQUESTS):
                file.write(json.dumps(wire.modern("tools/list", request_id=number)).encode() + b"\nrubbish\n")

    with os.fdopen(there, "rb") as source:
        saying = asyncio.create_task(asyncio.to_thread(say))
        await transport.run(pipeline, who, source, pipe.file)
        await saying
    assert [label for _, _, label in told.calls] == ["ok"] * REQUESTS
