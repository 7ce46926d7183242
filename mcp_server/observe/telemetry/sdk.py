"""OpenTelemetry's SDK behind the port `Spans`: spans begin with ids and a decision that were made without it."""

import contextlib
import os
import time
import traceback
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from opentelemetry import context as otel
from opentelemetry import trace as api
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.environment_variables import OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, NonRecordingSpan, SpanKind, Status, StatusCode, TraceFlags, TraceState
from opentelemetry.util.types import Attributes as Attributes_
from opentelemetry.util.types import AttributeValue

from mcp_server.observe import tracing
from mcp_server.observe.telemetry import names
from mcp_server.observe.telemetry.environment import Sampling
from mcp_server.observe.tracing import Attributes, Kind, SpanContext, Step, Trace
from mcp_server.version import __version__

MAX_VALUE: Final = 16 * 1024
"""Characters of a text that a handler adds to a span, unless OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT says otherwise: a caller
chooses what an exception says, and two thousand spans of it may wait for a collector."""
UNSET: Final = Status(StatusCode.UNSET)
TAKEN: Final = TraceFlags(TraceFlags.SAMPLED)
_BITS: Final = (1 << 64) - 1
_KINDS: Final = {"internal": SpanKind.INTERNAL, "client": SpanKind.CLIENT, "server": SpanKind.SERVER}


class _Open(NonRecordingSpan):
    """The span of a call while it is current; what a handler adds to it is kept as the SDK keeps it.

    The SDK's own would cost as much as the call again: it judges each attribute, and ours are known to be good.
    """

    def __init__(self, context: api.SpanContext, name: str, limits: SpanLimits) -> None:
        super().__init__(context)
        self.name, self.status, self._limits = name, UNSET, limits
        self.added: BoundedAttributes | None = None
        self.events: list[Event] = []
        self.recording = True

    def is_recording(self) -> bool:
        """Until it has ended."""
        return self.recording

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        for key, value in attributes.items():
            self.set_attribute(key, value)

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        if not self.recording:
            return
        if self.added is None:
            limits = self._limits
            self.added = BoundedAttributes(
                limits.max_span_attributes, immutable=False, max_value_len=limits.max_span_attribute_length
            )
        self.added[key] = value

    def add_event(self, name: str, attributes: Attributes_ = None, timestamp: int | None = None) -> None:
        limits = self._limits
        if self.recording and (limits.max_events is None or len(self.events) < limits.max_events):
            kept = BoundedAttributes(limits.max_event_attributes, attributes, max_value_len=limits.max_attribute_length)
            self.events.append(Event(name, kept, timestamp))

    def record_exception(
        self,
        exception: BaseException,
        attributes: Attributes_ = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        about = {
            "exception.type": type(exception).__qualname__,
            "exception.message": str(exception),
            "exception.stacktrace": "".join(traceback.format_exception(exception)),
            "exception.escaped": str(escaped),
        }
        self.add_event("exception", {**about, **(attributes or {})}, timestamp)

    def update_name(self, name: str) -> None:
        self.name = name

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        given = status if isinstance(status, Status) else Status(status, description)
        text = given.description
        self.status = Status(given.status_code, text if text is None else text[: self._limits.max_attribute_length])


class _Of(NamedTuple):
    """What is known of a span of ours when it begins."""

    trace: Trace
    kind: Kind
    attributes: Attributes
    parent: api.SpanContext | None


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


class SdkSpans:
    """Records spans."""

    def __init__(self, resource: Resource, sampling: Sampling) -> None:
        self._resource = resource
        self._limits = SpanLimits(
            max_attribute_length=None if OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT in os.environ else MAX_VALUE
        )
        self.provider = TracerProvider(
            sampler=_Decided(sampling), resource=resource, shutdown_on_exit=False, span_limits=self._limits
        )
        self._tracer = self.provider.get_tracer(names.SCOPE, __version__, schema_url=names.SCHEMA_URL)
        self._ended = self.provider._active_span_processor.on_end  # noqa: SLF001 - all processors, an author's among them
        self._scope = InstrumentationScope(names.SCOPE, __version__, names.SCHEMA_URL)
        self.sampled, self.bound = sampling.takes, sampling.bound

    def start(self, trace: Trace, name: str, kind: Kind, attributes: Attributes) -> Any:
        """Begin the span of a trace, current from now on."""
        parent = None if trace.parent is None else _remote(trace.parent)
        context = api.SpanContext(
            trace_id=int(trace.trace_id, 16),
            span_id=int(trace.span_id, 16),
            is_remote=False,
            trace_flags=TAKEN,
            trace_state=None if parent is None else parent.trace_state,
        )
        span = _Open(context, name, self._limits)
        return span, otel.attach(api.set_span_in_context(span)), _Of(trace, kind, attributes, parent)

    def child(self, name: str, kind: Kind, attributes: Attributes) -> Any:
        """Begin a step within the current span, and be current."""
        span = self._tracer.start_span(name, None, _KINDS[kind], attributes)
        return span, otel.attach(api.set_span_in_context(span)), None

    def end(self, span: Any, attributes: Attributes, *, error: str | None) -> None:
        """End it; in the task that began it, what was current before is current again."""
        begun, mark, about = span
        if error is not None:
            begun.set_status(Status(StatusCode.ERROR, error or None))
        if about is None:
            begun.set_attributes(attributes)
            begun.end()
        else:
            begun.recording = False
            self._ended(self._readable(begun, about, attributes))
        with contextlib.suppress(ValueError):  # a call that goes on though it was ended is ended by another task
            mark.var.reset(mark)  # the API's `detach` logs that with a traceback, for each such call

    def _readable(self, span: _Open, of: _Of, attributes: Attributes) -> ReadableSpan:
        return ReadableSpan(
            span.name,
            context=span.get_span_context(),
            parent=of.parent,
            resource=self._resource,
            attributes={**(span.added or {}), **of.attributes, **attributes},
            events=span.events,
            links=[Link(_remote(one)) for one in of.trace.links],
            kind=_KINDS[of.kind],
            status=span.status,
            start_time=of.trace.began_ns,
            end_time=time.time_ns(),
            instrumentation_scope=self._scope,
        )

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
