"""The audit trail of one HTTP request: whatever becomes of it, it leaves a line."""

import time
from collections.abc import Iterable, Mapping
from typing import Final, Literal

from mcp_server.auth.binding.dpop import Proof
from mcp_server.auth.refusals import AccessDenied
from mcp_server.engine import spans
from mcp_server.engine.records import MAX_AUDITED, about, traced
from mcp_server.identity import Principal
from mcp_server.limits import callers
from mcp_server.observe.audit import AuditLog, Decision
from mcp_server.observe.telemetry import names
from mcp_server.observe.tracing import MAX_STATE, RequestContext, Trace, Traces, Unrecorded, materialized
from mcp_server.web.render import Reply

SCOPE_KEY: Final = "mcp_trail"
"""Where the middleware leaves it for guards, in the ASGI scope."""


def name_of(begun: Trace | None) -> str:
    """The id of a trace that begins with its request, whose own it then is; empty where a caller may have named it."""
    return "" if begun is None or not begun.final else begun.trace_id


def join_state(lines: Iterable[tuple[bytes, bytes]], headers: dict[bytes, bytes]) -> None:
    """Have all of a caller's `tracestate` in `headers`: several lines of it are one list (W3C Trace Context §3.3).

    Of a list that is too long members at its end go, each whole (§3.3.1.5); of one line nothing is changed.
    """
    if b"tracestate" not in headers:
        return
    found = [value for name, value in lines if name == b"tracestate" and value]
    joined = b",".join(found)
    if len(found) > 1 and len(joined) > MAX_STATE:
        joined = joined[: MAX_STATE + 1].rpartition(b",")[0]
    headers[b"tracestate"] = joined


class Trail(RequestContext, kw_only=True):
    """Lines about one request. Steps that decide write theirs; `settle` writes one where none has.

    `method` is HTTP's until a message was read; `refusal` is of the token, where it was refused. `proof` is what came
    with it, where it was not seen before.
    """

    audit: AuditLog
    address: str
    method: str
    principal: Principal | None = None
    refusal: AccessDenied | None = None
    proof: Proof | None = None
    written: Literal["", "line", "call"] = ""
    """By whom: the pipeline's calls have lines and spans of their own."""
    since_ns: int = 0
    """Since when something was waited for that may take its time, before it is refused: its body, or its session."""

    @property
    def caller(self) -> str:
        """Whom the limits of a request count for."""
        return callers.key(None, self.address) if self.principal is None else self.principal.key

    def begin(self, traces: Traces, headers: Mapping[bytes, bytes]) -> None:
        """Begin to trace it, unless that has begun; its caller is not known yet."""
        if self.trace is None:
            self.trace = traces.request(headers)
            if self.trace is not None and self.since_ns:
                self.trace.began_ns = self.since_ns
            return
        if type(self.trace) is Unrecorded:
            self.trace = materialized(self.trace, self.request_id)
        if not self.trace.began_ns:
            self.trace.began_ns = self.since_ns or time.time_ns()

    def waits(self, traces: Traces) -> None:
        """A store is asked before there is a call: how long it hangs is how long a refusal took."""
        if traces.on and not self.since_ns:
            self.since_ns = time.time_ns()

    def decide(self) -> None:
        """Its trace is that of a caller who is known by now, or a stranger's; it becomes no call."""
        if self.trace is not None and not self.trace.final:
            self.trace = self.trace.decided(known=self.principal is not None)

    def span(self, traces: Traces, route: str, stated: str, answer: Reply | None) -> None:
        """What telemetry has of a request that became no call, refusals among them: a 4xx is no error of a server's.

        `stated` is the method that a header names.
        """
        if self.written == "call":  # it had a trace of its own: this one would be decided for nobody
            return
        if self.trace is not None and self.trace.over:  # a call of the same batch had it
            began_ns = self.trace.began_ns
            self.trace = traces.call(self.trace, None, known=self.principal is not None)
            if self.trace is not None:
                self.trace.began_ns = began_ns
        self.decide()
        if self.trace is None:
            return
        reason = "aborted" if answer is None else answer.reason
        method, status = spans.method_of(stated), 0 if answer is None else answer.status
        if status >= 400 or answer is None:
            traces.count(self.trace, method, reason)
        if not self.trace.sampled:
            return
        http, shown = (self.method, self.method) if self.method in names.HTTP_METHODS else (names.OTHER, "HTTP")
        about: dict[str, str | int] = {names.HTTP_METHOD: http, names.HTTP_ROUTE: route}
        about |= {names.METHOD: method} if method != names.OTHER else {}
        about |= {names.CLIENT_ADDRESS: self.address, names.CALL_ID: self.request_id}
        self.trace.start(f"{shown} {route}", "server", lambda: about)
        ended: dict[str, str | int] = {names.HTTP_STATUS: status} if status else {}
        self.trace.end(ended | ({names.ERROR_TYPE: reason} if reason else {}), error="" if status >= 500 else None)

    def refused(self, traces: Traces, route: str, refusal: AccessDenied) -> None:
        """The span of a guarded route that was refused; what it does for others is its author's to trace."""
        self.span(traces, route, "", Reply(refusal.reason.status, [], reason=refusal.reason.slug))

    def write(self, decision: Decision) -> None:
        """A line of its own: a batch has one for each message."""
        self.written = "line"
        self.audit.write(decision)

    def note(self, method: str, *, denied: bool = False, reason: str = "") -> None:
        """What is no call: a stream opened, a session ended, something said that is not answered."""
        self.write(self._decision(method, "deny" if denied else "allow", reason))

    def guard(self, route: str, needed: frozenset[str], reason: str) -> None:
        """A guarded route was asked for; `reason` is why it was refused, empty where it was not."""
        decision = self._decision(self.method, "deny" if reason else "allow", reason)
        decision.route, decision.needed = route, needed
        self.write(decision)

    def settle(self, answer: Reply | None) -> None:
        """The request is over, with this answer or with none: what nothing has been written about is written now."""
        if self.written:
            return
        if answer is None:
            self.note(self.method, denied=True, reason="aborted")
        else:
            reason = answer.reason or ("" if answer.outcome == "ok" else answer.outcome)
            self.note(self.method, denied=answer.status >= 400, reason=reason)

    def _decision(self, method: str, decision: str, reason: str) -> Decision:
        self.decide()
        line = Decision(
            time=time.time(),
            decision=decision,
            reason=reason,
            request_id=self.request_id,
            address=self.address,
            method=method[:MAX_AUDITED],
        )
        if self.refusal is not None:
            line.token, line.client = self.refusal.token_digest, self.refusal.client[:MAX_AUDITED]
        return about(traced(line, self.trace), self.principal)
