"""What is told of a call by timers, a logout or a shutdown stands under the request of that call."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable
from typing import Any

import msgspec
import pytest

from mcp_server import McpServer
from mcp_server.engine import supervisor
from mcp_server.limits import cancellation
from mcp_server.observe import tracing
from mcp_server.observe.log import logger
from mcp_server.observe.tracing import RequestContext
from mcp_server.store.revocations import EVER, Revocation
from tests.kit.calls import Channel, call, limits, serving
from tests.kit.principals import principal

GOES_ON = "a handler goes on though it was cancelled"


async def within(request: str, work: Awaitable[Any]) -> Any:
    """The work as a part of a request."""
    tracing.here.set(RequestContext(request))
    return await work


@pytest.mark.parametrize("reason", ["timed_out", "revoked"])
async def test_a_line_is_of_the_request_that_it_is_about(reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One timer looks at all calls, and whoever began first had set it; a logout is a request of somebody else's."""
    monkeypatch.setattr(supervisor, "ANSWER_S", 0.005)
    monkeypatch.setattr(cancellation, "AGAIN_S", 0.01)
    server, begun, found = McpServer("s"), asyncio.Event(), []

    @server.tool()
    async def quick() -> str:
        return ""

    @server.tool()
    async def deaf() -> str:
        begun.set()
        for _ in range(3):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
        return ""

    def asked(name: str, request: str) -> Any:
        """A call that its transport has not put into the context, as of a pipe."""
        made = call("tools/call", {"name": name, "arguments": {}}, channel=Channel())
        return pipeline.serve(msgspec.structs.replace(made, request_id=request))

    async def log_out() -> None:
        who = principal()
        over = Revocation(kind="sub", issuer=who.issuer, name=who.subject, before=EVER, until=time.time() + 60)
        pipeline.runtime.revocations.take(over)

    sink = logger.add(lambda line: found.append((line.record["message"], tracing.here.get().request_id)), level=0)
    try:
        bounds = limits(call_timeout_s=0.01 if reason == "timed_out" else 60)
        async with serving(server, bounds) as (pipeline, _):
            await asyncio.create_task(asked("quick", "another"))
            going = asyncio.create_task(asked("deaf", "its own"))
            await begun.wait()
            if reason == "revoked":
                await asyncio.create_task(within("a logout", log_out()))
            await going
    finally:
        logger.remove(sink)
    assert {request for text, request in found if text == GOES_ON} == {"its own"}
