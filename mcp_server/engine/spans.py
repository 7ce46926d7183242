"""What telemetry says of a call, in the names of the conventions: a value that a caller chose is no part of it.

No argument, no result, no token and no subject; of a session the digest of its id, of a resource its template.
"""

import hashlib
from functools import partial
from typing import Final

from msgspec import UNSET

from mcp_server.engine.call import Call
from mcp_server.engine.outcome import (
    AWAY,
    CUT,
    LATE,
    Cancelled,
    Completed,
    Denied,
    Failed,
    Limited,
    NeedsInput,
    Outcome,
    Subscribed,
    ToolFailed,
    Unavailable,
)
from mcp_server.observe import tracing
from mcp_server.observe.telemetry import names
from mcp_server.observe.telemetry.operations import series
from mcp_server.observe.tracing import Attributes, RequestContext, SpanContext, Trace, Traces
from mcp_server.protocol import errors, methods
from mcp_server.protocol.errors import RpcError
from mcp_server.protocol.meta import Meta
from mcp_server.protocol.types.tools import CallToolResult
from mcp_server.sessions.tasks.run import Run, TaskInteraction

MAX_ID: Final = 64
"""Characters of a JSON-RPC id, the only word of a caller's that a span has."""
ABORTED: Final = "aborted"
OWN_TEXTS: Final = frozenset({LATE, CUT, AWAY, errors.internal_error().message})
GOOD: Final = (Completed, NeedsInput, Subscribed)
"""They have no error."""
_Told = tuple[str, str, str, str, str, str, str | None]
"""Method, name, JSON-RPC id, revision, request id, address, session."""
_HTTP: Final = {names.TRANSPORT: "tcp", names.PROTOCOL: "http"}
_PIPE: Final = {names.TRANSPORT: "pipe"}


def method_of(stated: str) -> str:
    """A method that there is, or the conventions' word for another."""
    return stated if stated in methods.REVISIONS_OF else names.OTHER


def stated(meta: Meta) -> SpanContext | None:
    """The trace that a message says it belongs to (SEP-414)."""
    if meta.traceparent is UNSET:
        return None
    return tracing.read(meta.traceparent, None if meta.tracestate is UNSET else meta.tracestate)


def begin(trace: Trace, call: Call, name: str) -> None:
    """Begin the span of a call that is recorded; `name` is the registered one of what it asks for, if any."""
    method, request = method_of(call.request.method), call.request
    session = None if call.session is None else call.session.id
    told = (method, name, str(request.id)[:MAX_ID], call.revision, call.request_id, call.channel.address, session)
    if method == "resources/read":
        name = ""  # of as many as there are resources
    trace.start(f"{method} {name}" if name else method, "server", partial(_about, told, piped=call.headers is None))


def _about(told: _Told, *, piped: bool) -> Attributes:
    """Its attributes, of texts alone: the call itself would be kept until they are delivered."""
    method, name, rpc_id, revision, request_id, address, session = told
    found: dict[str, str | int] = {
        names.METHOD: method,
        names.REQUEST_ID: rpc_id,
        names.PROTOCOL_VERSION: revision,
        names.CALL_ID: request_id,
        **(_PIPE if piped else _HTTP),
    }
    if address:
        found[names.CLIENT_ADDRESS] = address
    if session is not None:  # its id opens the session's streams to its owner
        found[names.SESSION_ID] = hashlib.sha256(session.encode()).hexdigest()[:16]
    match method:
        case "tools/call" if name:
            found |= {names.TOOL: name, names.OPERATION: names.EXECUTE_TOOL}
        case "prompts/get" if name:
            found[names.PROMPT] = name
        case "resources/read" if name:
            found[names.RESOURCE_URI] = name
    return found


def end(traces: Traces, call: Call, name: str, outcome: Outcome | None, seconds: float) -> None:
    """End the span of a call, and count one that did not go well; `outcome` is None where the task itself was ended.

    The others are counted by the recorder.
    """
    trace = call.trace
    if type(outcome) is Completed:  # nearly every call
        if trace is not None and trace.span is not None:
            trace.end({})
        return
    error, code, failed = _judged(outcome)
    if (operations := traces.operations) is not None and not isinstance(outcome, GOOD):
        method, piped = method_of(call.request.method), call.headers is None
        operations.record(series(method, name, call.revision, error, code, piped=piped), seconds)
    if trace is None or trace.span is None:
        return
    found: dict[str, str | int] = {}
    if code:
        found[names.STATUS_CODE] = code
    if error:
        found[names.ERROR_TYPE] = error
    if isinstance(outcome, Denied) and (status := call.channel.denied_status(call, outcome)):
        found[names.HTTP_STATUS] = status
    trace.end(found, error=_text(outcome) if failed else None)


def _judged(outcome: Outcome | None) -> tuple[str, str, bool]:
    """`error.type`, the JSON-RPC code, and whether the server failed: what is the caller's own fault is no error."""
    match outcome:
        case None:
            return ABORTED, "", True
        case ToolFailed():
            return names.TOOL_ERROR, "", True
        case Failed(error, reason):
            failed = error.code not in names.CALLERS_FAULT
            return (reason or str(error.code)) if failed else "", str(error.code), failed
        case Unavailable(reason):
            return reason, "", True
        case Denied() | Limited():
            return outcome.reason, "", False
        case Cancelled(why):
            return why, "", False
        case _:
            return "", "", False


def _text(outcome: Outcome | None) -> str:
    """The description of a failure, where it is ours: an author's may quote what a caller sent."""
    text = outcome.error.message if isinstance(outcome, Failed) else ""
    return text if text in OWN_TEXTS else ""


def task_run(traces: Traces, call: Call, tool: str, run: Run) -> Run:
    """A run of a task with a trace of its own, linked to the call's: it outlives it, on whatever worker.

    Its lines have the call's name, traced or not: it may go on within the request that answers what it has asked.
    """
    origin = None if call.trace is None else tracing.materialized(call.trace, call.request_id)

    async def traced(running: TaskInteraction) -> CallToolResult | RpcError:
        trace = None if origin is None else traces.task(origin)
        mark = tracing.here.set(RequestContext(call.request_id, trace))
        if trace is not None:
            _begin_task(trace, tool, call.request_id)
        result: CallToolResult | RpcError | None = None
        try:
            result = await run(running)
        finally:
            if trace is not None:
                _end_task(trace, result)
            tracing.here.reset(mark)
        return result

    return traced


def _begin_task(trace: Trace, tool: str, request_id: str) -> None:
    if trace.sampled:
        said = {names.TOOL: tool, names.OPERATION: names.EXECUTE_TOOL, names.CALL_ID: request_id}
        trace.start(f"task.run {tool}", "internal", lambda: said)


def _end_task(trace: Trace, result: CallToolResult | RpcError | None) -> None:
    """Without a result it was ended from outside, or has asked its client and runs again with the answer."""
    if isinstance(result, RpcError):
        trace.end({names.STATUS_CODE: str(result.code), names.ERROR_TYPE: str(result.code)}, error="")
    elif result is not None and result.is_error:
        trace.end({names.ERROR_TYPE: names.TOOL_ERROR}, error="")
    else:
        trace.end({})
