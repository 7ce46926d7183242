"""OpenTelemetry's SDK behind the port `Spans`: spans begin with ids and a decision that were made without it."""

import os
from collections.abc import Sequence
from typing import Any, Final

from opentelemetry import context as otel
from opentelemetry import trace as api
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import (
    ReadableSpan,
    Span,
    SpanLimits,
    SpanProcessor,
    SynchronousMultiSpanProcessor,
    TracerProvider,
)
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanKind, Status, StatusCode, TraceFlags, TraceState

from mcp_server.observe import tracing
from mcp_server.observe.log import logger
from mcp_server.observe.telemetry import environment, names
from mcp_server.observe.telemetry.call_span import CallSpan, Maker
from mcp_server.observe.telemetry.environment import Sampling
from mcp_server.observe.trace_ids import draw, new_span_id
from mcp_server.observe.tracing import About, Attributes, Kind, SpanContext, Step, Trace
from mcp_server.version import __version__

_SPAN: Final = next(iter(api.set_span_in_context(api.INVALID_SPAN, otel.Context())))
"""Under which name the API's context has the current span."""
_BITS: Final = (1 << 64) - 1
_KINDS: Final = {"internal": SpanKind.INTERNAL, "client": SpanKind.CLIENT, "server": SpanKind.SERVER}


class _Decided(Sampler):
    """Takes what was decided already; of an author's own spans, what is decided of the call that they are within."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling

    def should_sample(
        self,
        parent_context: otel.Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Any = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        parent = api.get_current_span(parent_context).get_span_context()
        taken = self._taken(parent, trace_id)
        decision = Decision.RECORD_AND_SAMPLE if taken else Decision.DROP
        return SamplingResult(decision, attributes if taken else None, parent.trace_state)

    def _taken(self, parent: api.SpanContext, trace_id: int) -> bool:
        if parent.is_valid and not parent.is_remote:
            return bool(parent.trace_flags.sampled)
        if parent.is_valid:
            return self._sampling.takes(_named(parent), trace_id & _BITS)
        current = tracing.here.get().trace
        if current is not None and current.final:
            return current.sampled
        return self._sampling.takes(None, trace_id & _BITS)

    def get_description(self) -> str:
        return "Decided"


class _Ids(RandomIdGenerator):
    """Ids of steps and of authors' spans, drawn as ours are."""

    def generate_span_id(self) -> int:
        return int(new_span_id(), 16)

    def generate_trace_id(self) -> int:
        return draw(128) or 1


class _Processors(SynchronousMultiSpanProcessor):
    """All processors, an author's among them: one that fails is told in the log, and fails neither others nor the call.

    A span ends when its call has been written down, and may have acted: its client would be told of an error.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def on_start(self, span: Span, parent_context: otel.Context | None = None) -> None:
        for one in self._span_processors:
            try:
                one.on_start(span, parent_context)
            except Exception as error:  # noqa: BLE001 - whatever an author's raises
                _failed(one, error)

    def _on_ending(self, span: Span) -> None:
        for one in self._span_processors:
            try:
                one._on_ending(span)  # noqa: SLF001 - so does its base
            except Exception as error:  # noqa: BLE001
                _failed(one, error)

    def on_end(self, span: ReadableSpan) -> None:
        for one in self._span_processors:
            try:
                one.on_end(span)
            except Exception as error:  # noqa: BLE001
                _failed(one, error)


def _failed(processor: SpanProcessor, error: Exception) -> None:
    logger.opt(exception=error).error("a span processor failed", processor=type(processor).__qualname__)


class SdkSpans:
    """Records spans."""

    def __init__(self, resource: Resource, sampling: Sampling) -> None:
        limits = SpanLimits(**environment.limits(os.environ, []))
        self.provider = TracerProvider(
            sampler=_Decided(sampling),
            resource=resource,
            shutdown_on_exit=False,
            active_span_processor=(processors := _Processors()),
            id_generator=_Ids(),
            span_limits=limits,
        )
        self._tracer = self.provider.get_tracer(names.SCOPE, __version__, schema_url=names.SCHEMA_URL)
        self._ended = processors.on_end
        self._maker = Maker(resource, InstrumentationScope(names.SCOPE, __version__, names.SCHEMA_URL), limits)
        self.sampled, self.bound = sampling.takes, sampling.bound
        (mark := otel.attach(otel.Context())).var.reset(mark)
        self._current = mark.var  # of the API's context

    def start(self, trace: Trace, name: str, kind: Kind, about: About) -> Any:
        """Begin the span of a trace, current from now on."""
        span = CallSpan(self._maker, name, _KINDS[kind], about, (trace.trace_id, trace.span_id), trace.began_ns)
        if trace.parent is not None or trace.links:
            parent = None if trace.parent is None else _remote(trace.parent)
            span.within(parent, [Link(_remote(one)) for one in trace.links])
        current = self._current  # the API's own way is six calls, each of which is in no cache
        return span, current.set(otel.Context({**current.get(), _SPAN: span}))

    def child(self, name: str, kind: Kind, attributes: Attributes) -> Any:
        """Begin a step within the current span, and be current."""
        span = self._tracer.start_span(name, None, _KINDS[kind], attributes)
        return span, otel.attach(api.set_span_in_context(span))

    def end(self, span: Any, attributes: Attributes, *, error: str | None) -> None:
        """End it; in the task that began it, what was current before is current again."""
        begun, mark = span
        if type(begun) is CallSpan:
            begun.over(attributes, error=error)
            self._ended(begun)
        else:
            if error is not None:
                begun.set_status(Status(StatusCode.ERROR, error or None))
            begun.set_attributes(attributes)
            begun.end()
        try:  # noqa: SIM105 - a context manager costs three calls, each of which is in no cache
            self._current.reset(mark)  # the API's `detach` logs what is below with a traceback, for each such call
        except ValueError:  # a call that goes on though it was ended is ended by another task
            pass

    def past(self, trace: Trace, step: Step) -> None:
        """A step that was over before its trace was known."""
        span = self._tracer.start_span(
            step.name, api.set_span_in_context(trace.span[0]), _KINDS[step.kind], step.attributes, None, step.began_ns
        )
        if step.error is not None:
            span.set_status(Status(StatusCode.ERROR))
        span.end(step.ended_ns)

    def context(self, span: Any) -> SpanContext:
        """How others name a span."""
        return _named(span[0].get_span_context())

    def innermost(self) -> SpanContext | None:
        """The span that is current, an author's among them."""
        found = api.get_current_span().get_span_context()
        return _named(found) if found.is_valid else None


def _named(one: api.SpanContext) -> SpanContext:
    # The flag that says that an id is random (W3C Trace Context level 2) is of no use to anybody yet.
    flags = int(one.trace_flags) & tracing.SAMPLED
    return SpanContext(f"{one.trace_id:032x}", f"{one.span_id:016x}", flags, one.trace_state.to_header())


def _remote(one: SpanContext) -> api.SpanContext:
    state = TraceState.from_header([one.state]) if one.state else None
    trace_id, span_id = int(one.trace_id, 16), int(one.span_id, 16)
    return api.SpanContext(
        trace_id=trace_id, span_id=span_id, is_remote=True, trace_flags=TraceFlags(one.flags), trace_state=state
    )
