"""What is written down of a call: the audit's decision and how metrics count it, as values."""

import hashlib
import time
from typing import Any, Final

from mcp_server.engine.call import Admitted, Call
from mcp_server.engine.outcome import Cancelled, Completed, Limited, NeedsInput, Outcome, ToolFailed, Unavailable, label
from mcp_server.identity import Principal
from mcp_server.observe.audit import Decision
from mcp_server.observe.audit import arguments as audited
from mcp_server.observe.recorder import Recorder
from mcp_server.observe.tracing import FLAGS, Trace, Unrecorded
from mcp_server.registry.tool import Tool
from mcp_server.sessions.tasks.record import TaskRecord
from mcp_server.store.revocations import Revocation

OTHER: Final = "other"
REVOKED: Final = "revoked"
_SID_DIGITS: Final = 16
MAX_AUDITED: Final = 128
"""Characters of a caller's own words in a line."""
_ANSWERED: Final = (Completed, ToolFailed, NeedsInput)
_NOT_RUN: Final = (Limited, Unavailable)
_DENIED: Final = frozenset({"refused", "rejected"})


def decision(
    call: Call, name: str, needed: frozenset[str], outcome: Outcome | None, *, admitted: bool
) -> tuple[Decision, str]:
    """The line about a call and its outcome for metrics; no outcome means that the task itself was ended."""
    counted_as, reason = ("failed", "failed") if outcome is None else label(outcome)
    line = Decision(
        time=time.time(),
        decision="deny" if not admitted or counted_as in _DENIED or _is_not_run(outcome) else "allow",
        reason=reason,
        request_id=call.request_id,
        address=call.channel.address,
        method=call.request.method[:MAX_AUDITED],
        tool=name or (outcome.about if isinstance(outcome, Completed) else ""),
        needed=needed or (),
    )
    return about(traced(line, call.trace), call.principal), counted_as


def add_what_ran(decision: Decision, admitted: Admitted, outcome: Outcome | None, seconds: float) -> None:
    """What is known of a call that was admitted: its declared arguments, how long it ran, how large its answer is."""
    if isinstance(outcome, _ANSWERED):
        decision.size = len(outcome.message)
    elif _is_not_run(outcome):
        return
    decision.seconds = int(seconds * 1e6) / 1e6  # `round` costs three times as much
    target = admitted.target
    if type(target) is Tool and target.audit_arguments:
        decision.arguments = _arguments(admitted)


def _is_not_run(outcome: Outcome | None) -> bool:
    """Whether nothing of an admitted call has run."""
    if type(outcome) is Completed:  # nearly every call
        return False
    return isinstance(outcome, _NOT_RUN) or (isinstance(outcome, Cancelled) and not outcome.ran)


def beginning(admitted: Admitted, name: str) -> Decision:
    """The line about a call that begins; the one about its end has the same `call`."""
    call = admitted.call
    line = Decision(
        time=time.time(),
        decision="begun",
        request_id=call.request_id,
        call=name,
        address=call.channel.address,
        method=call.request.method[:MAX_AUDITED],
        tool=admitted.name,
        arguments=_arguments(admitted),
        needed=admitted.needed or (),
    )
    return about(traced(line, call.trace), call.principal)


def may_act(admitted: Admitted) -> bool:
    """Whether a call may change something: a tool's that does not say that it only reads."""
    return isinstance(admitted.target, Tool) and not admitted.target.reads


def _arguments(admitted: Admitted) -> dict[str, Any] | None:
    target = admitted.target
    if not isinstance(target, Tool) or not target.audit_arguments:
        return None
    given = admitted.call.peek.arguments  # read anew: a handler may have changed what it was given
    return audited.shown(target.audit_arguments, given, lambda raw: target.values(target.decode(raw))) or None


def refused(call: Call, reason: str) -> Decision:
    """The line about a call that was refused before it could be admitted."""
    line = Decision(
        time=time.time(),
        decision="deny",
        reason=reason,
        request_id=call.request_id,
        address=call.channel.address,
        method=call.request.method[:MAX_AUDITED],
    )
    return about(traced(line, call.trace), call.principal)


def unreadable(principal: Principal, reason: str) -> Decision:
    """The line about something that is no call at all: nothing of it but who sent it can be told."""
    return about(Decision(time=time.time(), decision="deny", reason=reason), principal)


def traced(decision: Decision, trace: Trace | None) -> Decision:
    """The decision with the trace that it belongs to; where durations alone are counted it has no id.

    Nearly each call's begins here and is not recorded: it has no span, and its line not a word more.
    """
    if type(trace) is Unrecorded:
        decision.trace_id = decision.request_id
    elif trace is not None and trace.trace_id:
        decision.trace_id = trace.trace_id
        if trace.span_id:
            decision.span_id, decision.trace_flags = trace.span_id, FLAGS[trace.flags]
    return decision


def about(decision: Decision, principal: Principal | None) -> Decision:
    """The decision with who it is about."""
    if principal is not None:
        decision.issuer = principal.issuer
        decision.subject = principal.subject
        decision.client = principal.client_id[:MAX_AUDITED]
        if principal.kind == "client":
            decision.kind = "client"
        elif principal.act:
            decision.kind, decision.act = "on_behalf", principal.act
        decision.held = principal.scopes or ()
        decision.token = principal.token_digest
    return decision


def revoked(one: Revocation) -> Decision:
    """The line about what an operator has revoked; of a login the digest, for no session's id is in the audit."""
    name = hashlib.sha256(one.name.encode()).hexdigest()[:_SID_DIGITS] if one.kind == "sid" else one.name
    line = Decision(time=time.time(), decision="allow", reason=REVOKED, issuer=one.issuer, method="revoke")
    line.why, line.arguments = one.why, {one.kind: name}
    if one.kind == "sub":
        line.subject = one.name
    elif one.kind == "client":
        line.client = one.name
    return line


def task_never_ran(recorder: Recorder, record: TaskRecord, reason: str) -> None:
    """A task has failed and no run wrote it down; of its caller the record knows the name."""
    issuer, kind, name = (*record.principal_key.split("\n"), "", "")[:3]
    line = Decision(time=time.time(), decision="allow", reason=reason, method="task", tool=record.tool)
    line.issuer, line.kind = issuer, "" if kind == "user" else kind
    if kind == "client":
        line.client = name[:MAX_AUDITED]
    else:
        line.subject = name
    recorder.noted(line)


def task_ended(recorder: Recorder, call: Call, tool: str, outcome: str) -> None:
    """A run of a task has ended: its call was recorded when it began, long before this."""
    line = Decision(
        time=time.time(),
        decision="allow",
        reason=outcome,
        request_id=call.request_id,
        method="task",
        tool=tool,
    )
    recorder.noted(about(traced(line, call.trace), call.principal))
