"""The SDK behind the port: ids and decisions that were made before, and an author's spans that follow them."""

import contextvars
import random
from collections import UserDict
from collections.abc import Callable, ItemsView, Sequence
from contextlib import suppress
from typing import Any, TextIO

import pytest
from opentelemetry import trace as api
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Link, NonRecordingSpan, Status, StatusCode, TraceFlags, TraceState
from opentelemetry.util.types import AttributeValue

from mcp_server.observe.telemetry.delivery import silence_sdk_log
from mcp_server.observe.telemetry.environment import MAX_VALUE, Sampling
from mcp_server.observe.telemetry.sdk import SdkSpans
from mcp_server.observe.telemetry.weight import PLAIN, weight
from mcp_server.observe.trace_ids import new_span_id
from mcp_server.observe.tracing import RequestContext, SpanContext, Step, Traces, here
from tests.kit.logs import written_since

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
    made.start("one", "server", lambda: {"a": 1})
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
    made.start("one", "server", lambda: {"a": 1})
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
        made.start("one", "server", lambda: {"a": 1})
        adds(api.get_current_span())
        made.end({})
        (one,) = kept.spans
        assert (weight(one) >= MAX_VALUE) == bool(said)
        assert (weight(one) == PLAIN) != bool(said)


def test_a_text_of_an_exception_that_ends_an_authors_span_is_weighed() -> None:
    """The SDK cuts what an event holds of it, and not the status."""
    _, spans, kept = recording()
    tracer = spans.provider.get_tracer("author")
    with suppress(ValueError), tracer.start_as_current_span("theirs", record_exception=False):
        raise ValueError("x" * (4 * MAX_VALUE))
    (one,) = kept.spans
    assert weight(one) > 4 * MAX_VALUE


def test_what_links_and_a_parent_hold_of_a_tracestate_is_weighed() -> None:
    _, spans, kept = recording()
    tracer = spans.provider.get_tracer("author")
    state = TraceState([(f"k{number}", "v" * 256) for number in range(32)])
    far = api.SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(1), trace_state=state)
    tracer.start_span("linked", links=[Link(far)] * 4).end()
    tracer.start_span("child", api.set_span_in_context(NonRecordingSpan(far))).end()
    linked, child = kept.spans
    assert weight(linked) > 4 * 32 * 256
    assert weight(child) > 32 * 256


def test_what_a_thread_adds_while_its_call_ends_is_not_in_it() -> None:
    """What a span weighs as it joins the queue, it gives back as it leaves: more of it, and the bound would grow."""
    traces, _, kept = recording()
    made = traces.own()
    made.start("one", "server", lambda: {"a": 1})
    span = api.get_current_span()

    class Ends(UserDict[str, AttributeValue]):
        def items(self) -> ItemsView[str, AttributeValue]:
            made.end({"b": 2})
            return super().items()

    span.add_event("late", Ends(c=["x" * MAX_VALUE]))
    (one,) = kept.spans
    weighed = weight(one)
    span.set_attribute("late", "x" * MAX_VALUE)
    assert (one.events, dict(one.attributes or {})) == ((), {"a": 1, "b": 2})
    assert weight(one) == weighed


def test_links_that_a_handler_adds_are_kept_and_bounded() -> None:
    traces, _, kept = recording()
    made = traces.call(None, ONE, known=False)
    assert made is not None
    made.start("one", "server", dict)
    span = api.get_current_span()
    for number in range(2 * MANY):
        span.add_link(api.SpanContext(1, number, is_remote=True, trace_flags=TraceFlags(1)), {"n": number})
    span.add_link(None)  # type: ignore[arg-type]  # the SDK's own takes it for none, too
    made.end({})
    span.add_link(api.SpanContext(1, 1, is_remote=True))
    (one,) = kept.spans
    assert len(one.links) == MANY
    assert [link.context.span_id for link in one.links[:3]] == [int(ONE.span_id, 16), 1, 2]  # 0 is of no span
    assert (one.dropped_links, one.dropped_events, one.dropped_attributes) == (MANY, 0, 0)


@pytest.mark.filterwarnings("ignore:You should use instrumentation_scope:DeprecationWarning")
def test_a_span_of_a_call_reads_as_any_other() -> None:
    traces, _, kept = recording()
    made = traces.own()
    made.start("one", "server", lambda: {"a": 1})
    span = api.get_current_span()
    span.update_name("other")
    span.set_status(StatusCode.OK)
    span.add_event("seen")
    span.add_link(api.SpanContext(1, 2, is_remote=True))
    assert isinstance(span, ReadableSpan)
    assert (span.name, span.status.status_code, len(span.events), len(span.links)) == ("other", StatusCode.OK, 1, 1)
    made.end({})
    (one,) = kept.spans
    for name in (name for name in dir(ReadableSpan) if not name.startswith("_")):
        getattr(one, name)
    assert '"name": "other"' in one.to_json()


@pytest.mark.parametrize("adds", [True, False])
@pytest.mark.parametrize("anew", [True, False])
def test_what_a_processor_of_an_authors_takes_out_is_not_sent(adds: bool, anew: bool) -> None:
    """The SDK's spans have no other way: what was taken out was made again as it was sent."""

    class Redacting(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            held: Any = span
            if anew:
                held._attributes = {**held.attributes, "client.address": "-"}
            else:
                held._attributes["client.address"] = "-"

    spans, kept = SdkSpans(Resource({}), Sampling()), Kept()
    for one in (Redacting(), SimpleSpanProcessor(kept)):
        spans.provider.add_span_processor(one)
    (traces := Traces()).open(spans, None)
    made = traces.own()
    made.start("one", "server", lambda: {"client.address": "192.0.2.1"})
    assert api.get_current_span().attributes == {"client.address": "192.0.2.1"}  # type: ignore[attr-defined]
    if adds:
        api.get_current_span().set_attribute("a", 1)
    made.end({"b": 2})
    assert kept.spans[0].attributes == {"client.address": "-", "b": 2} | ({"a": 1} if adds else {})


def test_a_processor_of_an_authors_that_fails_fails_nothing_else(log_file: TextIO) -> None:
    traces, spans, kept = recording()
    before = log_file.tell()

    class Failing(SpanProcessor):
        def on_start(self, span: Span, parent_context: Context | None = None) -> None:
            raise ValueError

        def _on_ending(self, span: Span) -> None:
            raise ValueError

        def on_end(self, span: ReadableSpan) -> None:
            raise ValueError

    spans.provider.add_span_processor(Failing())
    spans.provider.add_span_processor(SimpleSpanProcessor(kept))
    made = traces.own()
    made.start("one", "server", dict)
    mark = here.set(RequestContext(trace=made))
    with Step("two"):
        pass
    made.end({})
    here.reset(mark)
    assert [one.name for one in kept.spans] == ["two", "two", "one", "one"]
    assert spans.innermost() is None
    assert "a span processor failed" in written_since(log_file, before)


def test_a_handler_that_seeds_pythons_generator_chooses_no_ids() -> None:
    traces, spans, kept = recording()
    tracer = spans.provider.get_tracer("author")
    drawn = set[str]()
    for _ in range(2):
        random.seed(42)
        traces.open(traces.spans, None)  # none are drawn
        drawn |= {traces.own().trace_id, new_span_id()}
        tracer.start_span("theirs").end()
    assert len(drawn) == 4
    assert len({one.context.span_id for one in kept.spans if one.context is not None}) == 2
    assert len({one.context.trace_id for one in kept.spans if one.context is not None}) == 2


def test_who_else_ends_a_span_says_nothing_of_it(caplog: pytest.LogCaptureFixture) -> None:
    """A handler that goes on though it was ended: its caller is answered by a timer, with a context of its own."""
    traces, _, kept = recording()
    made = traces.own()
    contextvars.copy_context().run(made.start, "one", "server", dict)
    made.end({}, error="")
    assert [one.name for one in kept.spans] == ["one"]
    assert caplog.records == []


def test_what_a_handler_adds_is_bounded() -> None:
    traces, _, kept = recording()
    made = traces.own()
    made.start("one", "server", lambda: {"a": 1})
    span = api.get_current_span()
    for number in range(2 * MANY):
        span.set_attribute(f"n{number}", number)
        span.add_event("e")
    span.set_status(Status(StatusCode.ERROR, "theirs"))
    made.end({})
    (one,) = kept.spans
    assert (len(one.attributes or {}), len(one.events)) == (MANY + 1, MANY)
    assert (one.dropped_attributes, one.dropped_events, one.dropped_links) == (MANY, MANY, 0)  # whoever reads is told
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
    made.start("one", "server", dict)
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
    made.start("two", "server", dict)
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
        made.start("call", "server", dict)
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
