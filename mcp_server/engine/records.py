"""What is written down of a call: the audit's decision and how metrics count it, as values."""

import time
from typing import Final

from mcp_server.engine.call import Call
from mcp_server.engine.outcome import Completed, Outcome, label
from mcp_server.identity import Principal
from mcp_server.observe.audit import Decision
from mcp_server.observe.recorder import Recorder
from mcp_server.sessions.tasks.record import TaskRecord

OTHER: Final = "other"
MAX_AUDITED: Final = 128
"""Characters of a caller's own words in a line."""
_DENIED: Final = frozenset({"refused", "rejected"})


def decision(
    call: Call, name: str, needed: frozenset[str], outcome: Outcome | None, *, admitted: bool
) -> tuple[Decision, str]:
    """The line about a call and its outcome for metrics; no outcome means that the task itself was ended."""
    counted_as, reason = ("failed", "failed") if outcome is None else label(outcome)
    line = Decision(
        time=time.time(),
        decision="deny" if counted_as in _DENIED or not admitted else "allow",
        reason=reason,
        request_id=call.request_id,
        address=call.channel.address,
        trace_id=call.trace_id,
        method=call.request.method[:MAX_AUDITED],
        tool=name or (outcome.about if isinstance(outcome, Completed) else ""),
        needed=needed or (),
    )
    return about(line, call.principal), counted_as


def refused(call: Call, reason: str) -> Decision:
    """The line about a call that was refused before it could be admitted."""
    line = Decision(
        time=time.time(),
        decision="deny",
        reason=reason,
        request_id=call.request_id,
        address=call.channel.address,
        trace_id=call.trace_id,
        method=call.request.method[:MAX_AUDITED],
    )
    return about(line, call.principal)


def unreadable(principal: Principal, reason: str) -> Decision:
    """The line about something that is no call at all: nothing of it but who sent it can be told."""
    return about(Decision(time=time.time(), decision="deny", reason=reason), principal)


def about(decision: Decision, principal: Principal | None) -> Decision:
    """The decision with who it is about."""
    if principal is not None:
        decision.issuer = principal.issuer
        decision.subject = principal.subject
        decision.client = principal.client_id[:MAX_AUDITED]
        decision.kind = "" if principal.kind == "user" else principal.kind
        decision.held = principal.scopes or ()
        decision.token = principal.token_digest
    return decision


def task_lost(recorder: Recorder, record: TaskRecord) -> None:
    """A task has failed for its worker was lost, which wrote nothing; of its caller the record knows the name."""
    issuer, kind, name = (*record.principal_key.split("\n"), "", "")[:3]
    line = Decision(time=time.time(), decision="allow", reason="task_lost", method="task", tool=record.tool)
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
        trace_id=call.trace_id,
        method="task",
        tool=tool,
    )
    recorder.noted(about(line, call.principal))
