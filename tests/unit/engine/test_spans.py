"""What telemetry says of a call's end, on whatever transport: what is an error of this server's, and what is not."""

import json
from collections.abc import AsyncIterator
from typing import Any, TextIO

import msgspec
import pytest

from mcp_server import Context, McpServer, ToolError
from mcp_server.authoring.errors import ProtocolError
from mcp_server.engine import records, spans
from mcp_server.engine.call import Call
from mcp_server.engine.outcome import AWAY, LATE, Cancelled, Failed, Limited, Unavailable
from mcp_server.engine.pipeline import Pipeline
from mcp_server.observe import metrics
from mcp_server.observe.audit import AuditLog, Decision
from mcp_server.observe.log import logger
from mcp_server.observe.recorder import CallRecorder
from mcp_server.observe.telemetry.operations import Operations, attributes
from mcp_server.observe.tracing import NOTHING, RequestContext, SpanContext, Step, Trace, Traces, Unrecorded, here
from mcp_server.protocol.errors import RpcError
from mcp_server.protocol.types.content import TextContent
from mcp_server.protocol.types.tools import CallToolResult
from mcp_server.sessions.session import Session
from mcp_server.store.backend import StoreUnavailable
from tests.kit.calls import call, serving
from tests.kit.logs import written_since

TRACEPARENT = f"00-{'a' * 32}-{'b' * 16}-01"


class Recorded:
    """The spans that ended: name, attributes, and the description of an error, None where it is none."""

    bound = 1 << 64

    def __init__(self) -> None:
        self.ended: list[tuple[str, dict[str, Any], str | None]] = []

    def sampled(self, parent: SpanContext | None, bits: int) -> bool:
        return True

    def start(self, trace: Any, name: str, kind: str, about: Any) -> Any:
        return name, dict(about())

    def end(self, span: Any, attributes: Any, *, error: str | None) -> None:
        self.ended.append((span[0], span[1] | dict(attributes), error))

    def child(self, name: str, kind: str, attributes: Any) -> Any:
        return name, {}

    def past(self, trace: Any, step: Step) -> None:
        raise AssertionError

    def context(self, span: Any) -> SpanContext:
        return SpanContext("c" * 32, "d" * 16, 1)

    def innermost(self) -> SpanContext | None:
        return None


server = McpServer("s")


@server.tool(public=True)
async def does(how: str, ctx: Context) -> str:
    """Do it in a way."""
    if how == "tool":
        raise ToolError("s3cret")
    if how == "protocol":
        raise ProtocolError(4001, "s3cret")
    if how == "away":
        raise StoreUnavailable("s3cret")
    return ctx.trace_id


@server.resource("r://x", public=True)
async def resource() -> str:
    """Fail with a text of one's own."""
    raise ToolError("s3cret")


@pytest.fixture
async def pipeline() -> AsyncIterator[tuple[Pipeline, Recorded, Operations]]:
    async with serving(server) as (made, _):
        recorded, operations = Recorded(), Operations()
        made.traces.open(recorded, operations)
        yield made, recorded, operations


def of(pipeline: Pipeline, method: str, **params: Any) -> Call:
    made = call(method, params)
    return msgspec.structs.replace(made, trace=pipeline.traces.own())


@pytest.mark.parametrize(
    ("how", "found", "error"),
    [
        ("well", {}, None),
        ("tool", {"error.type": "tool_error"}, ""),
        ("protocol", {"error.type": "4001", "rpc.response.status_code": "4001"}, ""),
        ("away", {"error.type": "store_away", "rpc.response.status_code": "-32603"}, AWAY),
    ],
)
async def test_how_a_call_ends(pipeline: Any, how: str, found: dict[str, Any], error: str | None) -> None:
    made, recorded, operations = pipeline
    await made.serve(of(made, "tools/call", name="does", arguments={"how": how}))
    ((name, about, told),) = recorded.ended
    assert (name, told) == ("tools/call does", error)
    assert about["network.transport"] == "pipe"
    assert "network.protocol.name" not in about
    assert {key: about[key] for key in ("error.type", "rpc.response.status_code") if key in about} == found
    counted = [attributes(one) for one in operations.series]
    if how == "well":  # the recorder counts those
        assert counted == []
    else:
        assert [one["network.transport"] for one in counted] == ["pipe"]
        assert found.items() <= counted[0].items()


OWN, CALLERS = Trace(None, "a" * 32), Trace(None, "a" * 32, span_id="b" * 16)
RECORDED = Trace(None, "a" * 32, sampled=True, span_id="b" * 16, flags=1)


@pytest.mark.parametrize(
    ("trace", "span"),
    [
        (None, None),
        (Trace(None), None),
        (OWN, {}),
        (Unrecorded(None), {}),
        (CALLERS, {"span_id": "b" * 16, "trace_flags": "00"}),
        (RECORDED, {"span_id": "b" * 16, "trace_flags": "01"}),
    ],
    ids=["none", "durations alone", "ours, not recorded", "ours, of the request", "theirs, not recorded", "recorded"],
)
def test_what_lines_have_of_a_trace(trace: Trace | None, span: dict[str, str] | None, log_file: TextIO) -> None:
    found = {} if span is None else {"trace_id": "a" * 32, **span}
    line = msgspec.to_builtins(records.traced(Decision(1.0, "allow", request_id="a" * 32), trace))
    assert line == {"time": 1.0, "decision": "allow", "request_id": "a" * 32, **found}
    before, mark = log_file.tell(), here.set(RequestContext("a" * 32, trace))
    try:
        logger.info("here")
    finally:
        here.reset(mark)
    assert here.get() is NOTHING
    told = json.loads(written_since(log_file, before))
    assert {key: told[key] for key in told if key.startswith(("trace", "span"))} == found


def test_what_goes_well_is_counted_where_durations_are() -> None:
    traces, line = Traces(), Decision(1.0, "allow", tool="does")
    recorder = CallRecorder(AuditLog("/dev/null"), traces)
    way: Any = {"method": "tools/call", "seconds": 0.03, "revision": "2026-07-28"}
    recorder.finished(line, outcome="ok", **way)  # nothing is exported yet
    traces.open(None, operations := Operations())
    for outcome in ("ok", "ok", "failed"):
        recorder.finished(line, outcome=outcome, **way)
    recorder.finished(line, outcome="ok", **way, piped=True)
    metrics.hand_on()
    counted = {one[4]: (sum(found.counts), found.counts[2], found.total) for one, found in operations.series.items()}
    assert counted == {"tcp": (2, 2, 0.06), "pipe": (1, 1, 0.03)}


async def test_an_authors_text_is_no_part_of_it(pipeline: Any) -> None:
    made, recorded, _ = pipeline
    await made.serve(of(made, "resources/read", uri="r://x"))
    ((name, about, told),) = recorded.ended
    assert (name, about["mcp.resource.uri"], about["rpc.response.status_code"], told) == (
        "resources/read",
        "r://x",
        "-32603",
        "",
    )


async def test_an_unknown_method_is_none_of_a_callers_words(pipeline: Any) -> None:
    made, recorded, operations = pipeline
    await made.serve(of(made, "s3cret/method"))
    ((name, about, told),) = recorded.ended
    assert (name, about["mcp.method.name"], about["rpc.response.status_code"], told) == (
        "_OTHER",
        "_OTHER",
        "-32601",
        None,
    )
    assert "error.type" not in about
    assert {one[0] for one in operations.series} == {"_OTHER"}


@pytest.mark.parametrize(
    ("outcome", "found", "error"),
    [
        (Limited("too_fast", 1), {"error.type": "too_fast"}, None),
        (Unavailable("stopping"), {"error.type": "stopping"}, ""),
        (Cancelled("disconnected"), {"error.type": "disconnected"}, None),
        (None, {"error.type": "aborted"}, ""),
    ],
)
def test_what_ended_otherwise(outcome: Any, found: dict[str, Any], error: str | None) -> None:
    recorded, traces = Recorded(), Traces()
    traces.open(recorded, None)
    made = msgspec.structs.replace(
        call("tools/call", {"name": "x"}, session=Session("s3cret-id", "o", "2025-11-25", {})), trace=traces.own()
    )
    assert made.trace is not None
    spans.begin(made.trace, made, "")
    spans.end(traces, made, "", outcome, 0.1)
    ((name, about, told),) = recorded.ended
    assert (name, told) == ("tools/call", error)
    assert found.items() <= about.items()
    assert "s3cret-id" not in about.values()


def test_what_the_server_says_itself_describes_its_errors() -> None:
    recorded, traces = Recorded(), Traces()
    traces.open(recorded, None)
    made = msgspec.structs.replace(call("tools/call", {"name": "x"}), trace=traces.own())
    assert made.trace is not None
    spans.begin(made.trace, made, "")
    late = Failed(RpcError(code=-32603, message=LATE))
    spans.end(traces, made, "", late, 0.1)
    assert recorded.ended[0][2] == LATE


@pytest.mark.parametrize(
    ("result", "found", "error"),
    [
        (CallToolResult([TextContent("s3cret")]), {}, None),
        (CallToolResult([TextContent("s3cret")], is_error=True), {"error.type": "tool_error"}, ""),
        (RpcError(code=-32603, message="s3cret"), {"error.type": "-32603", "rpc.response.status_code": "-32603"}, ""),
        (None, {}, None),
    ],
)
async def test_a_run_of_a_task(result: Any, found: dict[str, Any], error: str | None) -> None:
    recorded, traces = Recorded(), Traces()
    traces.open(recorded, None)
    made = msgspec.structs.replace(call("tools/call", {"name": "x"}), trace=traces.own())

    async def run(_: Any) -> Any:
        if result is None:
            raise LookupError
        return result

    wrapped = spans.task_run(traces, made, "x", run)
    if result is None:
        with pytest.raises(LookupError):
            await wrapped(None)  # type: ignore[arg-type]  # nobody looks at it
    else:
        assert await wrapped(None) is result  # type: ignore[arg-type]
    ((name, about, told),) = recorded.ended
    assert (name, told) == ("task.run x", error)
    assert found.items() <= about.items()
    assert "s3cret" not in str(about)


async def test_a_run_of_a_task_that_nothing_traces_has_its_calls_name_wherever_it_goes_on() -> None:
    made, traces = msgspec.structs.replace(call("tools/call", {"name": "x"}), trace=None), Traces()

    async def run(_: Any) -> Any:
        return here.get()

    mark = here.set(RequestContext("who answers", Unrecorded(None)))
    try:
        found: Any = await spans.task_run(traces, made, "x", run)(None)  # type: ignore[arg-type]  # nobody looks at it
    finally:
        here.reset(mark)
    assert (found.request_id, found.trace) == (made.request_id, None)


def test_a_message_that_names_no_trace_has_none() -> None:
    assert spans.stated(call("ping").peek.meta) is None
    made = call("ping").peek.meta
    stated = spans.stated(msgspec.structs.replace(made, traceparent=TRACEPARENT, tracestate="a=1"))
    assert stated is not None
    assert (stated.header, stated.state) == (TRACEPARENT, "a=1")
