"""The SDK behind the port: ids and decisions that were made before, and an author's spans that follow them."""

import contextvars
from collections.abc import Callable, Sequence

import pytest
from opentelemetry import trace as api
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import NonRecordingSpan, Status, StatusCode, TraceFlags

from mcp_server.observe.telemetry.delivery import silence_sdk_log
from mcp_server.observe.telemetry.environment import MAX_VALUE, Sampling
from mcp_server.observe.telemetry.sdk import SdkSpans
from mcp_server.observe.telemetry.weight import PLAIN, weight
from mcp_server.observe.tracing import RequestContext, SpanContext, Step, Traces, here

MANY = 128
"""The SDK's bound."""
ONE = SpanContext("a" * 32, "b" * 16, 1, "vendor=1")


class Kept(SpanExporter):
    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.spans += spans
        return SpanExportResult.SUCCESS


def recording(sampling: Sampling | None = None) -> tuple[Traces, SdkSpans, Kept]:
    traces, kept = Traces(), Kept()
    spans = SdkSpans(Resource({}), sampling or Sampling())
    spans.provider.add_span_processor(SimpleSpanProcessor(kept))
    traces.open(spans, None)
    return traces, spans, kept


def test_a_span_has_the_ids_that_the_log_has_already() -> None:
    traces, spans, kept = recording()
    made = traces.call(None, ONE, known=True)
    assert made is not None
    mark = here.set(RequestContext(trace=made))
    made.start("one", "server", {"a": 1})
    with Step("two", "client", lambda: {"b": 2}) as step:
        inner = made.innermost()
        assert step.outgoing == inner == SpanContext(ONE.trace_id, inner.span_id, 1, "vendor=1")
    assert made.innermost().span_id == made.span_id != inner.span_id
    made.end({"c": 3}, error="why")
    here.reset(mark)
    two, one = kept.spans
    assert one.context is not None
    assert (f"{one.context.trace_id:032x}", f"{one.context.span_id:016x}") == (made.trace_id, made.span_id)
    assert one.parent is not None
    assert f"{one.parent.span_id:016x}" == ONE.span_id
    assert two.parent is not None
    assert two.parent.span_id == one.context.span_id
    assert (dict(one.attributes or {}), one.status.description) == ({"a": 1, "c": 3}, "why")
    assert spans.innermost() is None


def test_what_a_handler_adds_to_the_span_of_its_call_is_in_it() -> None:
    traces, _, kept = recording()
    made = traces.own()
    made.start("one", "server", {"a": 1})
    span = api.get_current_span()
    assert span.is_recording()
    span.set_attributes({"b": True, "a": 2})
    span.set_attribute("c", ["x", "y"])
    span.add_event("seen", {"e": 1.5})
    span.record_exception(KeyError("why"), {"f": 1})
    span.update_name("other")
    span.set_status(StatusCode.OK)
    made.end({"g": 1})
    span.set_attribute("late", 1)
    span.add_event("late")
    span.update_name("late")
    span.set_status(StatusCode.ERROR)
    (one,) = kept.spans
    assert not span.is_recording()
    assert dict(one.attributes or {}) == {"a": 1, "b": True, "c": ("x", "y"), "g": 1}  # what is ours stays
    assert (one.name, one.status.status_code) == ("other", StatusCode.OK)
    seen, raised = one.events
    assert (seen.name, dict(seen.attributes or {})) == ("seen", {"e": 1.5})
    about = dict(raised.attributes or {})
    assert (about["exception.type"], about["exception.message"], about["f"]) == ("KeyError", "'why'", 1)
    assert "KeyError" in str(about["exception.stacktrace"])


def test_what_a_handler_may_make_long_is_weighed() -> None:
    """A queue of plain ones is bounded by their number: what makes one long takes it out of them."""
    long = "x" * MAX_VALUE
    for said, adds in enumerate[Callable[[api.Span], object]](
        (
            lambda _: None,
            lambda span: span.update_name(long),
            lambda span: span.set_attribute("b", long),
            lambda span: span.add_event(long),
        )
    ):
        traces, _, kept = recording()
        made = traces.own()
        made.start("one", "server", {"a": 1})
        adds(api.get_current_span())
        made.end({})
        (one,) = kept.spans
        assert (weight(one) >= MAX_VALUE) == bool(said)
        assert (weight(one) == PLAIN) != bool(said)


def test_who_else_ends_a_span_says_nothing_of_it(caplog: pytest.LogCaptureFixture) -> None:
    """A handler that goes on though it was ended: its caller is answered by a timer, with a context of its own."""
    traces, _, kept = recording()
    made = traces.own()
    contextvars.copy_context().run(made.start, "one", "server", {})
    made.end({}, error="")
    assert [one.name for one in kept.spans] == ["one"]
    assert caplog.records == []


def test_what_a_handler_adds_is_bounded() -> None:
    traces, _, kept = recording()
    made = traces.own()
    made.start("one", "server", {"a": 1})
    span = api.get_current_span()
    for number in range(2 * MANY):
        span.set_attribute(f"n{number}", number)
        span.add_event("e")
    span.set_status(Status(StatusCode.ERROR, "theirs"))
    made.end({})
    (one,) = kept.spans
    assert (len(one.attributes or {}), len(one.events)) == (MANY + 1, MANY)
    assert one.status.description == "theirs"


@pytest.mark.parametrize(("stated", "length"), [(None, MAX_VALUE), ("7", 7)])
def test_so_is_the_length_of_each_text_and_no_line_says_so(
    stated: str | None, length: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A caller chooses what an exception says; of the call's own span and of an author's."""
    silence_sdk_log()
    if stated is not None:
        monkeypatch.setenv("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", stated)
    traces, spans, kept = recording()
    made, long = traces.own(), "x" * (2 * MAX_VALUE)
    made.start("one", "server", {})
    with spans.provider.get_tracer("author").start_as_current_span("theirs") as theirs:
        for span in (theirs, api.get_current_span(api.set_span_in_context(made.span[0]))):
            span.set_attribute("a", long)
            span.record_exception(ValueError(long))
    made.span[0].set_status(StatusCode.ERROR, long)
    made.end({})
    for one in kept.spans:
        values = [*(one.attributes or {}).values(), *(one.events[0].attributes or {}).values()]
        assert max(len(str(value)) for value in values) == length
    assert len(kept.spans[1].status.description or "") == length
    assert caplog.records == []
    made.start("two", "server", {})
    api.get_current_span().set_attribute("a", object())  # type: ignore[arg-type]
    made.end({})
    assert [one.name for one in caplog.records] == ["opentelemetry.attributes"]


@pytest.mark.parametrize(("ratio", "kept_"), [(0, 0), (1 << 64, 1)])
def test_an_authors_span_is_recorded_where_its_call_is(ratio: int, kept_: int) -> None:
    traces, spans, kept = recording(Sampling(ratio))
    author = spans.provider.get_tracer("author")
    made = traces.own()
    mark = here.set(RequestContext(trace=made))
    if made.sampled:
        made.start("call", "server", {})
    with author.start_as_current_span("theirs"):
        pass
    made.end({})
    here.reset(mark)
    assert [one.name for one in kept.spans] == ["theirs", "call"][: 2 * kept_]


@pytest.mark.parametrize(
    ("flags", "ratio", "recorded"), [(1, 0, True), (0, 1 << 64, False), (None, 0, False), (None, 1 << 64, True)]
)
def test_an_authors_span_beside_calls_is_sampled_as_asked_for(flags: int | None, ratio: int, recorded: bool) -> None:
    _, spans, kept = recording(Sampling(ratio))
    context = None
    if flags is not None:
        remote = api.SpanContext(trace_id=1, span_id=2, is_remote=True, trace_flags=TraceFlags(flags))
        context = api.set_span_in_context(NonRecordingSpan(remote))
    spans.provider.get_tracer("author").start_span("theirs", context).end()
    assert bool(kept.spans) is recorded
    assert spans.provider.sampler.get_description() == "Decided"
