"""OpenTelemetry's SDK behind the port `Spans`: spans begin with ids and a decision that were made without it."""

import threading
from collections.abc import Sequence
from typing import Any, Final

from opentelemetry import context as otel
from opentelemetry import trace as api
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, NonRecordingSpan, SpanKind, Status, StatusCode, TraceFlags, TraceState

from mcp_server.observe import tracing
from mcp_server.observe.telemetry import names
from mcp_server.observe.telemetry.environment import Sampling
from mcp_server.observe.tracing import Attributes, Kind, SpanContext, Step, Trace
from mcp_server.version import __version__

_BITS: Final = (1 << 64) - 1
_KINDS: Final = {"internal": SpanKind.INTERNAL, "client": SpanKind.CLIENT, "server": SpanKind.SERVER}


class _Given(threading.local):
    """The ids of the span that this thread is about to begin."""

    ids: tuple[int, int] | None = None


class _Ids(RandomIdGenerator):
    def __init__(self, given: _Given) -> None:
        self._given = given

    def generate_trace_id(self) -> int:
        return self._given.ids[0] if self._given.ids else super().generate_trace_id()

    def generate_span_id(self) -> int:
        return self._given.ids[1] if self._given.ids else super().generate_span_id()


class _Decided(Sampler):
    """Takes what was decided already; of an author's own spans, what is decided of the call that they are within."""

    def __init__(self, given: _Given, sampling: Sampling) -> None:
        self._given, self._sampling = given, sampling

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
        taken = self._given.ids is not None or self._taken(parent, trace_id)
        decision = Decision.RECORD_AND_SAMPLE if taken else Decision.DROP
        return SamplingResult(decision, attributes if taken else None, parent.trace_state)

    def _taken(self, parent: api.SpanContext, trace_id: int) -> bool:
        if parent.is_valid and not parent.is_remote:
            return bool(parent.trace_flags.sampled)
        if parent.is_valid:
            return self._sampling.takes(_named(parent), trace_id & _BITS)
        current = tracing.here.get()
        if current is not None and current.final and not current.sampled:
            return False
        return self._sampling.takes(None, trace_id & _BITS)

    def get_description(self) -> str:
        return "Decided"


class SdkSpans:
    """Records spans."""

    def __init__(self, resource: Resource, sampling: Sampling) -> None:
        self._given, self._sampling = _Given(), sampling
        self.provider = TracerProvider(
            sampler=_Decided(self._given, sampling),
            resource=resource,
            id_generator=_Ids(self._given),
            shutdown_on_exit=False,
        )
        self._tracer = self.provider.get_tracer(names.SCOPE, __version__, schema_url=names.SCHEMA_URL)
        self.sampled, self.bound = sampling.takes, sampling.bound

    def start(self, trace: Trace, name: str, kind: Kind, attributes: Attributes) -> Any:
        """Begin the span of a trace, current from now on."""
        around = otel.Context()
        if trace.parent is not None:
            around = api.set_span_in_context(NonRecordingSpan(_remote(trace.parent)), around)
        self._given.ids = int(trace.trace_id, 16), int(trace.span_id, 16)
        try:
            span = self._tracer.start_span(
                name,
                around,
                _KINDS[kind],
                dict(attributes),
                [Link(_remote(one)) for one in trace.links],
                trace.began_ns,
            )
        finally:
            self._given.ids = None
        return span, otel.attach(api.set_span_in_context(span))

    def child(self, name: str, kind: Kind, attributes: Attributes) -> Any:
        """Begin a step within the current span, and be current."""
        span = self._tracer.start_span(name, None, _KINDS[kind], dict(attributes))
        return span, otel.attach(api.set_span_in_context(span))

    def end(self, span: Any, attributes: Attributes, *, error: str | None) -> None:
        """End it, in the task that began it."""
        begun, mark = span
        begun.set_attributes(dict(attributes))
        if error is not None:
            begun.set_status(Status(StatusCode.ERROR, error or None))
        begun.end()
        otel.detach(mark)

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
