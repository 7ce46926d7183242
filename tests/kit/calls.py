"""Calls without a transport: a server's pipeline in this process, and what its recorder was told."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from mcp_server import McpServer
from mcp_server.authoring.sink import Sink
from mcp_server.engine.call import Call, Standing
from mcp_server.engine.outcome import Completed, Denied, Failed, NeedsInput, Outcome, ToolFailed
from mcp_server.engine.pipeline import Limits, Pipeline
from mcp_server.engine.runtime import EngineConfig, Runtime
from mcp_server.engine.supervisor import CallSupervisor, CallSupervisors
from mcp_server.identity import Credential, Principal
from mcp_server.limits.concurrency import ConcurrencyLimiter
from mcp_server.limits.rate import RateLimiter
from mcp_server.observe.audit import Begun, Decision
from mcp_server.protocol import meta
from mcp_server.protocol.jsonrpc import Request
from mcp_server.sessions.session import Session
from mcp_server.store.backend import StateBackend
from tests.kit import wire
from tests.kit.contexts import Recorder as Spoken
from tests.kit.principals import principal


class RememberingRecorder:
    """A recorder that remembers: (decision, method label, outcome label)."""

    def __init__(self) -> None:
        self.calls: list[tuple[Decision, str, str]] = []
        self.notes: list[Decision] = []
        self.begun: Begun = "late"
        self.refuses = False
        self.ahead: list[Decision] = []

    async def written(self, decision: Decision) -> bool:
        self.ahead.append(decision)
        return not self.refuses

    def finished(
        self, decision: Decision, *, method: str, outcome: str, seconds: float, revision: str = "", piped: bool = False
    ) -> None:
        assert seconds >= 0
        self.calls.append((decision, method, outcome))

    def noted(self, decision: Decision) -> None:
        self.notes.append(decision)


class Channel(Spoken):
    """A channel that remembers what was said on it."""

    address = "192.0.2.7"

    def __init__(self, caller: str = "one", conversation: str = "") -> None:
        super().__init__()
        self.caller, self.conversation = caller, conversation
        self.hung_up: Callable[[], Awaitable[None]] | None = None
        self.silent = False
        self.needed: frozenset[str] | None = None
        self.quiet_s: float | None = None
        self.supervisor: CallSupervisor | None = None
        self.standing: Standing = ()
        self.stayed = asyncio.Event()
        self.credential: Credential | None = None
        self.headers: dict[str, str] = {}
        self.answered_for: list[Outcome] = []

    def header(self, name: str) -> str | None:
        return self.headers.get(name.lower())

    def begun(self, needed: frozenset[str], about: tuple[str, str]) -> None:
        self.needed = needed

    def open_sink(self) -> Sink:
        return self

    def denied_status(self, call: Call, denied: Denied) -> int:
        return 403

    def answer_for(self, call: Call, outcome: Outcome) -> None:
        self.answered_for.append(outcome)

    def silence(self) -> None:
        self.silent = True

    async def stay_open(self) -> None:
        self.stayed.set()


def limits(**bounds: Any) -> Limits:
    """What is not stated lets all through: a test that asks again and again, on a fast machine, is no flood."""
    usual: dict[str, Any] = {
        "calls": ConcurrencyLimiter(100),
        "rate": RateLimiter(1_000_000),
        "messages": RateLimiter(1_000_000),
        "call_timeout_s": 5,
    }
    return Limits(**usual | bounds)


@asynccontextmanager
async def serving(
    server: McpServer,
    bounds: Limits | None = None,
    backend: StateBackend | None = None,
    supervisors: CallSupervisors | None = None,
    **config: Any,
) -> AsyncIterator[tuple[Pipeline, RememberingRecorder]]:
    """A pipeline over a server, started, and the recorder it tells."""
    told = RememberingRecorder()
    runtime = Runtime(server, EngineConfig(**{"state_keys": (b"k" * 32,), **config}), backend)
    pipeline = Pipeline(runtime, bounds or limits(), told, CallSupervisors() if supervisors is None else supervisors)
    await runtime.start()
    try:
        yield pipeline, told
    finally:
        await runtime.stop()


def call(
    method: str,
    params: dict[str, Any] | None = None,
    *,
    request_id: Any = 1,
    revision: str = wire.MODERN,
    who: Principal | None = principal(),  # noqa: B008 - a value
    session: Session | None = None,
    channel: Channel | None = None,
    capabilities: dict[str, Any] | None = None,
) -> Call:
    """A classified call, in the modern era unless another revision is named."""
    modern = revision == wire.MODERN
    message = (wire.modern if modern else wire.legacy)(method, params or {}, request_id)
    if modern:
        message["params"]["_meta"][f"{wire.PREFIX}clientCapabilities"] = capabilities or {}
    raw = msgspec.Raw(json.dumps(message.get("params", {})).encode())
    peek = meta.peek(raw)
    assert isinstance(peek, meta.RoutingFields), peek
    return Call(
        request=Request(request_id, method, raw),
        peek=peek,
        revision=revision,
        principal=who,
        request_id="r",
        session=session,
        channel=channel or Channel(),
    )


def answer(outcome: Outcome) -> dict[str, Any]:
    """What the client of an outcome reads."""
    if isinstance(outcome, Failed):
        return {"error": {"code": outcome.error.code, "message": outcome.error.message}}
    assert isinstance(outcome, Completed | ToolFailed | NeedsInput), outcome
    read: dict[str, Any] = json.loads(outcome.message)
    return read
