"""Spans as OTLP has them: what is put in its place says what the library says of the same spans."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace as api
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, StatusCode, TraceFlags, TraceState

from mcp_server.observe.telemetry import encoding
from mcp_server.observe.telemetry.call_span import CallSpan, Maker
from mcp_server.observe.telemetry.delivery import silence_sdk_log

Edit = Callable[[CallSpan], None]
IDS = st.integers(1, 2**64 - 1)
VALUES = st.one_of(st.text(st.characters(codec="utf-8"), max_size=8), st.integers(-(2**63), 2**63 - 1))
ATTRIBUTES = st.dictionaries(st.sampled_from(["mcp.method.name", "rpc.id", "a", "\u00e9"]), VALUES)
MAKERS = [
    Maker(Resource({"service.name": name}, "schema:1"), InstrumentationScope(name, "1", "schema:2"), SpanLimits())
    for name in ("one", "two")
]


def context(number: int, *, remote: bool = False, state: str = "") -> SpanContext:
    named = TraceState.from_header([state]) if state else None
    return SpanContext(number << 60 | number, number, is_remote=remote, trace_flags=TraceFlags(1), trace_state=named)


OTHER = context(9, remote=True, state="vendor=1,other=2")
EDITS: dict[str, Edit] = {
    "nothing": lambda _: None,
    "a client's": lambda span: span.within(OTHER, []),
    "a step's": lambda span: span.within(context(8), []),
    "linked": lambda span: span.within(None, [Link(OTHER, {"a": 1})]),
    "an attribute of a handler's": lambda span: span.set_attribute("list", ["x", "y"]),
    "an event": lambda span: span.add_event("seen", {"b": True}),
    "another name": lambda span: span.update_name("other"),
    "good, a handler says": lambda span: span.set_status(StatusCode.OK),
}


@st.composite
def calls(draw: st.DrawFn) -> CallSpan:
    kind = draw(st.sampled_from([SpanKind.SERVER, SpanKind.INTERNAL, SpanKind.CLIENT]))
    ids = (f"{draw(IDS):032x}", f"{draw(IDS):016x}")
    made = CallSpan(
        draw(st.sampled_from(MAKERS)),
        "tools/call add",
        kind,
        draw(ATTRIBUTES.map(lambda made: lambda: made)),
        ids,
        draw(IDS),
    )
    EDITS[draw(st.sampled_from([*EDITS]))](made)
    made.over(draw(ATTRIBUTES), error=draw(st.sampled_from([None, None, "", "The call took too long"])))
    return made


def theirs() -> ReadableSpan:
    """One of the SDK's own, in the same scope as ours."""
    maker = MAKERS[0]
    provider = TracerProvider(resource=maker.resource, shutdown_on_exit=False)
    span = provider.get_tracer("one", "1", schema_url="schema:2").start_span("theirs")
    span.end()
    assert isinstance(span, ReadableSpan)
    return span


def said(data: bytes) -> Counter[bytes]:
    """Each span with its resource, its scope and their schemas."""
    found = Counter[bytes]()
    for one in ExportTraceServiceRequest.FromString(data).resource_spans:
        for scope in one.scope_spans:
            about = one.resource.SerializeToString(deterministic=True) + scope.scope.SerializeToString()
            for span in scope.spans:
                span.attributes.sort(key=lambda attribute: attribute.key)
                found[about + f"{one.schema_url} {scope.schema_url}".encode() + span.SerializeToString()] += 1
    return found


def by_the_library(spans: Sequence[ReadableSpan]) -> bytes:
    return bytes(encode_spans(spans).SerializePartialToString())


@given(st.lists(st.one_of(calls(), calls(), st.sampled_from([theirs(), theirs()])), max_size=6))
def test_it_says_what_the_library_says(spans: list[ReadableSpan]) -> None:
    assert said(encoding.encode(spans)) == said(by_the_library(spans))


def call(attributes: dict[str, Any], began_ns: int = 1) -> CallSpan:
    made = CallSpan(MAKERS[0], "tools/call", SpanKind.SERVER, lambda: attributes, (f"{1:032x}", f"{1:016x}"), began_ns)
    made.over({})
    return made


@pytest.mark.parametrize("value", ["\ud800", 1.5, True, ("a", "b"), None, 2**63])
def test_what_it_does_not_know_the_library_says(value: Any) -> None:
    """No attribute of ours is such; what the library leaves out is left out."""
    silence_sdk_log()
    spans = [call({"good": 1}), call({"good": 1, "odd": value}), call({"good": 2})]
    assert said(encoding.encode(spans)) == said(by_the_library(spans))


def test_what_has_no_form_on_the_wire_is_an_error_as_there() -> None:
    spans = [call({}), call({}, -1)]
    for encode in (encoding.encode, by_the_library):
        with pytest.raises(ValueError, match="range"):
            encode(spans)


def test_spans_that_have_only_attributes_are_put_in_their_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library is shown one of them, for the resource and the scope."""
    shown: list[int] = []

    def counted(spans: Sequence[ReadableSpan]) -> Any:
        shown.append(len(spans))
        return encode_spans(spans)

    monkeypatch.setattr(encoding, "encode_spans", counted)
    assert sum(said(encoding.encode([call({"n": number}) for number in range(50)])).values()) == 50
    encoding.encode([call({}), theirs(), call({})])
    assert shown == [1, 2]
    assert api.get_current_span() is api.INVALID_SPAN
