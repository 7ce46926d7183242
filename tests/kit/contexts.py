"""A handler's context without a request: what is sent is kept."""

from collections.abc import Mapping
from typing import Any

from mcp_server import Context
from mcp_server.authoring.context import CallFacts, IncomingRequest, SharedContext, Upstreams
from mcp_server.authoring.interaction import Interaction, ResumableInteraction
from mcp_server.engine.call import NullChannel
from mcp_server.identity import Principal
from mcp_server.limits import threads
from mcp_server.limits.threads import Blocking, Threads
from mcp_server.observe.tracing import Trace
from mcp_server.protocol.types.notifications import LogLevel
from tests.kit.principals import principal


class Recorder:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.said: list[bytes] = []
        self.paused: list[int] = []

    async def send(self, message: bytes) -> None:
        self.said.append(message)

    async def pause(self, retry_ms: int) -> None:
        self.paused.append(retry_ms)


def context(
    *,
    sink: Recorder | None = None,
    rounds: Interaction | None = None,
    state: dict[str, Any] | None = None,
    capabilities: Mapping[str, Any] | None = None,
    progress_token: str | int | None = None,
    log_level: LogLevel | None = None,
    updated: list[str] | None = None,
    upstreams: Upstreams | None = None,
    incoming: IncomingRequest | None = None,
    who: Principal | None = None,
    trace: Trace | None = None,
) -> Context:
    facts = CallFacts(
        principal=who or principal(),
        request_id="r",
        trace=trace,
        revision="2026-07-28",
        shared=SharedContext(state or {}, (updated if updated is not None else []).append, _holds, upstreams),
        incoming=incoming or NullChannel(),
        capabilities=capabilities or {},
        progress_token=progress_token,
        log_level=log_level,
    )
    return Context(facts, sink or Recorder(), rounds or ResumableInteraction({}, {}))


def _holds(who: Principal | None, scopes: Any, values: Mapping[str, object]) -> bool:
    return who is not None and who.scopes.issuperset(scopes)


def in_threads(size: int = 2) -> None:
    """Have sync handlers that this test runs itself run in a pool of its own."""
    threads.current.set(Blocking(Threads(size), None))
