"""One HTTP request on its way through the endpoint: what every step needs to know of it, and its audit line."""

import time
from collections.abc import Mapping
from collections.abc import Set as AbstractSet

import msgspec

from mcp_server.auth.challenge import Challenger
from mcp_server.auth.refusals import Reason, Refusal
from mcp_server.engine.dispatch import Admitted, Call, Dispatcher, NeedsScopes
from mcp_server.engine.features import tools
from mcp_server.engine.sessions import SessionStore
from mcp_server.identity import Principal
from mcp_server.observe import metrics, tracing
from mcp_server.observe.audit import AuditLog, Decision
from mcp_server.protocol import methods, shape
from mcp_server.protocol.faults import Rejection
from mcp_server.protocol.jsonrpc import Request
from mcp_server.protocol.meta import Peek
from mcp_server.protocol.types.tools import CallToolResult
from mcp_server.web import reply
from mcp_server.web.reply import Reply

MAX_AUDITED = 128  # characters of a caller's own words in a line
OTHER = "other"


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """What the endpoint is made of; built once by `app.py`."""

    dispatcher: Dispatcher
    challenger: Challenger
    audit: AuditLog
    sessions: SessionStore | None
    step_up_as_error: bool = False


class Exchange(msgspec.Struct, kw_only=True):
    """A request being answered. `principal` is None for strangers on a server with public tools."""

    parts: Parts
    headers: Mapping[bytes, bytes]
    twice: AbstractSet[bytes]
    principal: Principal | None
    request_id: str
    started: float = msgspec.field(default_factory=time.perf_counter)

    async def serve(self, request: Request, peek: Peek, revision: str) -> Reply:
        """Admit and run one request, count it, and write down what was decided."""
        call = self._call(request, peek, revision)
        admitted = self.parts.dispatcher.admit(call)
        answer, reason = await self._answer(call, admitted)
        self._record(call, admitted, answer, reason)
        return answer

    def must_challenge(self, request: Request, peek: Peek, revision: str) -> bool:
        """Whether `serve` would answer 401 or 403: a batch asks before any of its items runs."""
        admitted = self.parts.dispatcher.admit(self._call(request, peek, revision))
        return isinstance(admitted, NeedsScopes)

    def _call(self, request: Request, peek: Peek, revision: str) -> Call:
        stated = peek.meta.traceparent
        header = self.headers.get(b"traceparent")
        text = stated if isinstance(stated, str) else header and header.decode("latin-1")
        trace_id = tracing.trace_id(text) if text else ""
        return Call(request, peek, revision, self.principal, self.request_id, trace_id)

    async def _answer(self, call: Call, admitted: Admitted | NeedsScopes | Rejection) -> tuple[Reply, str]:
        request_id = call.request.id
        if isinstance(admitted, Rejection):
            return reply.rejected(admitted.of(request_id)), str(admitted.code)
        if isinstance(admitted, NeedsScopes):
            reason = Reason.NO_CREDENTIALS if self.principal is None else Reason.INSUFFICIENT_SCOPE
            return self._challenge(Refusal(reason, scopes=admitted.needed), call)
        value = await self.parts.dispatcher.run(admitted)
        if isinstance(value, Rejection):
            return reply.rejected(value.of(request_id)), str(value.code)
        errored = isinstance(value, CallToolResult) and value.is_error is True
        return reply.result(request_id, value, outcome="tool_error" if errored else "ok"), ""

    def _challenge(self, refusal: Refusal, call: Call) -> tuple[Reply, str]:
        metrics.refused(refusal.reason.slug)
        scoped = refusal.reason is Reason.INSUFFICIENT_SCOPE
        if scoped and self.parts.step_up_as_error:
            text = f"{refusal.reason.public}: {', '.join(sorted(refusal.scopes))}"
            shaped = shape.call_result(tools.failed(text), call.revision, self.parts.dispatcher.server_meta)
            return reply.result(call.request.id, shaped, outcome="refused"), refusal.reason.slug
        answer = reply.refused(refusal, self.parts.challenger, call.request.id)
        return answer, refusal.reason.slug

    def _record(self, call: Call, admitted: object, answer: Reply, reason: str) -> None:
        method = call.request.method
        known = self._known_tool(call, admitted)
        meter = _meter(method if method in methods.REVISIONS_OF else OTHER, known)
        meter.record(answer.outcome, time.perf_counter() - self.started)
        needed = getattr(admitted, "needed", None)
        decision = Decision(
            time.time(),
            "deny" if answer.outcome in ("refused", "rejected") else "allow",
            reason or ("" if answer.outcome == "ok" else answer.outcome),
            self.request_id,
            call.trace_id,
            method=method[:MAX_AUDITED],
            tool=known,
            needed=tuple(needed) if needed else (),
        )
        self.parts.audit.write(about(decision, self.principal))

    def _known_tool(self, call: Call, admitted: object) -> str:
        if isinstance(admitted, Admitted):
            return admitted.tool.name if admitted.tool else ""
        return self.parts.dispatcher.tool_name(call)


def about(decision: Decision, principal: Principal | None) -> Decision:
    """The decision with who it is about."""
    if principal is not None:
        decision.issuer = principal.issuer
        decision.subject = principal.subject
        decision.client = principal.client_id[:MAX_AUDITED]
        decision.held = tuple(principal.scopes)
        decision.token = principal.token_digest
    return decision


_meters: dict[tuple[str, str], metrics.CallMeter] = {}


def _meter(method: str, tool: str) -> metrics.CallMeter:
    """The meter of a (method, tool): both from closed sets, so there are only so many."""
    meter = _meters.get((method, tool))
    if meter is None:
        meter = _meters[method, tool] = metrics.CallMeter(method, tool)
    return meter
