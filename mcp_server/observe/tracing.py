"""Distributed tracing as values: W3C Trace Context, the trace that a request belongs to, whether it is sampled.

No SDK is known here. `Spans` is the port to one, which is there while telemetry is exported; without it a trace is what
the caller said, for the log, the audit and the APIs behind this server.
"""

import re
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Final, Literal, Protocol, Self
from urllib.parse import urlsplit

import msgspec

from mcp_server.observe.telemetry import names
from mcp_server.observe.telemetry.operations import Operations
from mcp_server.observe.trace_ids import TraceIds, draw, new_span_id

SAMPLED: Final = 1
MAX_EARLY: Final = 16
"""Steps of one request that are remembered until it is known which trace it belongs to."""
_PARENT: Final = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
MAX_STATE: Final = 512
"""Characters of a `tracestate` that is passed on; one must pass on so many (W3C Trace Context §3.3.1.5)."""
_STATE: Final = re.compile(rf"[ -~\t]{{1,{MAX_STATE}}}")
"""Printable: what is passed on goes into a header."""
FLAGS: Final = tuple(f"{number:02x}" for number in range(256))
"""In two hex digits, by their number."""
Mode = Literal["follow", "link", "ignore"]
Kind = Literal["internal", "client", "server"]
Attributes = Mapping[str, str | int]
About = Callable[[], Attributes]
"""Makes the attributes of a span, where and when they are asked for."""


class SpanContext(msgspec.Struct, frozen=True):
    """A span as others name it (W3C Trace Context §3)."""

    trace_id: str
    span_id: str
    flags: int = 0
    state: str = ""

    @property
    def header(self) -> str:
        """`traceparent`."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"


def read(traceparent: str | None, tracestate: str | None = None) -> SpanContext | None:
    """What a traceparent says; None where it is not well-formed. A later version may have more behind (§3.2.4)."""
    if traceparent is None or len(traceparent) > 128:
        return None
    found = _PARENT.fullmatch(traceparent)
    if found is None or (found[1] == "00" and found[5]):
        return None
    state = tracestate if tracestate and _STATE.fullmatch(tracestate) else ""
    return SpanContext(found[2], found[3], int(found[4], 16), state)


class Spans(Protocol):
    """What records spans; a span is the SDK's own and nobody looks into it here."""

    bound: int
    """What the last 64 bits of an id are less than, where a trace that begins here is recorded."""

    def sampled(self, parent: SpanContext | None, bits: int) -> bool:
        """Whether a trace is recorded, decided before anything is built for it; `bits` are half of its id."""

    def start(self, trace: "Trace", name: str, kind: Kind, about: About) -> Any:
        """Begin the span of a trace, current from now on."""

    def end(self, span: Any, attributes: Attributes, *, error: str | None) -> None:
        """End it; `error` is None where it is no error, else its description, which may be empty."""

    def child(self, name: str, kind: Kind, attributes: Attributes) -> Any:
        """Begin a step within the current span, and be current."""

    def past(self, trace: "Trace", step: "Step") -> None:
        """A step that was over before its trace was known."""

    def context(self, span: Any) -> SpanContext:
        """How others name a span."""

    def innermost(self) -> SpanContext | None:
        """The span that is current, an author's among them."""


class Trace(msgspec.Struct, eq=False):
    """The trace of one request or call; `spans` is None where nothing is recorded. Each call makes one, if any does."""

    spans: Spans | None
    trace_id: str = ""
    """32 hex digits; none where durations alone are counted."""
    sampled: bool = False
    """Whether its spans are recorded."""
    span_id: str = ""
    state: str = ""
    flags: int = 0
    parent: SpanContext | None = None
    links: tuple[SpanContext, ...] = ()
    span: Any = None
    began_ns: int = 0
    early: "list[Step] | None" = None
    """Steps that were over before its span began."""
    over: bool = False
    """Whether its span has ended."""
    maker: "Traces | None" = None
    """Who decides, where that is not done yet."""
    passes: bool = True
    """Whether an API is told of it."""

    def sample(self, links: tuple[SpanContext, ...], begun: "Trace | None") -> None:
        """Have it recorded, with what `begun` has seen of the same request."""
        self.sampled, self.flags, self.span_id, self.links = True, SAMPLED, new_span_id(), links
        self.began_ns = (0 if begun is None else begun.began_ns) or time.time_ns()  # one that is not sampled has none
        self.early = None if begun is None else begun.early

    @property
    def final(self) -> bool:
        """Whether it is decided: else the caller is not known yet, nor what the body says."""
        return self.maker is None

    @property
    def remembers(self) -> bool:
        """Whether a step is kept for the span that may begin."""
        may_be_recorded = self.sampled or self.maker is not None
        return may_be_recorded and not self.over and len(self.early or ()) < MAX_EARLY

    def decided(self, *, known: bool) -> "Trace | None":
        """It becomes no call, and is traced as what it is."""
        if self.maker is None:
            return self
        found = self.maker.call(self, None, known=known)
        if found is not None:
            found.began_ns = self.began_ns
        return found

    def start(self, name: str, kind: Kind, about: About) -> None:
        """Begin its span, with what was done before as its first children; `about` is called when it is delivered."""
        if (spans := self.spans) is None:
            return
        self.span = spans.start(self, name, kind, about)
        for step in self.early or ():
            spans.past(self, step)
        self.early = None

    def end(self, attributes: Attributes, *, error: str | None = None) -> None:
        """End its span; from here on it has no children any more."""
        span, self.span, self.over = self.span, None, True
        if span is not None and self.spans is not None:
            self.spans.end(span, attributes, error=error)

    @property
    def traceparent(self) -> str:
        """What is kept with a task of this call."""
        told = self.outgoing()
        return "" if told is None else told.header

    def innermost(self) -> SpanContext:
        """What a line of the log belongs to."""
        found = self.spans.innermost() if self.span is not None and self.spans is not None else None
        return found or SpanContext(self.trace_id, self.span_id, self.flags)

    def outgoing(self) -> SpanContext | None:
        """What an API is told where no step was recorded of calling it."""
        if not (self.passes and self.trace_id):
            return None
        return SpanContext(self.trace_id, self.span_id or new_span_id(), self.flags, self.state)


class Unrecorded(Trace):
    """A trace that begins with its request and is not recorded, as nearly all are: of it there is nothing but an id.

    That is its request's, and so one stands for all of a server: what was said of one would be said of the others.
    `materialized` makes one of it. Its spans are the server's: a handler may go on with a trace that others record.
    """

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(name)


def materialized(trace: Trace, request_id: str) -> Trace:
    """The trace as an object that has its id."""
    return Trace(trace.spans, request_id) if type(trace) is Unrecorded else trace


class RequestContext(msgspec.Struct):
    """What is served: the request's name in the log, and the trace that it belongs to."""

    request_id: str = ""
    trace: Trace | None = None


NOTHING: Final = RequestContext()
here: ContextVar[RequestContext] = ContextVar("request", default=NOTHING)
"""What is served in this task. One variable for both, for each costs every call: a transport puts the trace into what
is here already."""


class Traces:
    """Makes the traces of requests. `mode` is what is done with a caller's own, None for the default.

    By default that of a caller with a token is joined. A stranger's is linked to: else anybody could write into the
    traces of others, and have all be recorded.
    """

    def __init__(self, mode: Mode | None = None) -> None:
        self.mode = mode
        self.spans: Spans | None = None
        self.operations: Operations | None = None
        """Where durations are counted, which may be asked for without spans."""
        self.on = False
        """Whether anything is exported."""
        self._ids = TraceIds()
        self._unrecorded = Unrecorded(None)

    def open(self, spans: Spans | None, operations: Operations | None) -> None:
        """Record from now on; nothing, where both are None."""
        self.spans, self.operations, self.on = spans, operations, spans is not None or operations is not None
        self._ids.begin_anew()
        self._unrecorded = Unrecorded(spans)

    def request(self, headers: Mapping[bytes, bytes]) -> Trace | None:
        """Of an HTTP request whose caller is not known yet; None where there is nothing to trace.

        It is decided where HTTP names none, for then it begins here whoever the caller is.
        """
        around = None
        if (text := headers.get(b"traceparent")) is not None and self.mode != "ignore":
            around = read(text.decode("latin-1"), headers.get(b"tracestate", b"").decode("latin-1"))
        if around is not None:
            trace = Trace(self.spans, around.trace_id)
            trace.parent, trace.maker = around, self
        elif self.on:
            trace = self.own()
        else:
            return None
        trace.began_ns = time.time_ns()
        return trace

    def call(self, begun: Trace | None, stated: SpanContext | None, *, known: bool) -> Trace | None:
        """Of a call, or of a request that becomes none; `stated` is what the message itself says (SEP-414).

        What HTTP says is then the context around, and linked. `known` is whether there was a token.
        """
        around = None if begun is None else begun.parent
        parent = around if stated is None else stated
        mode = self.mode or ("follow" if known else "link")
        if parent is None or mode == "ignore":
            return self.own((), begun) if self.on else None
        if self.spans is None:
            return _passed(parent, passes=mode == "follow")
        others = tuple(one for one in (stated, around) if one is not None)
        if mode == "link":
            return self.own(others, begun)
        trace = Trace(self.spans, parent.trace_id)
        trace.parent, trace.state, trace.span_id = parent, parent.state, parent.span_id
        if self.spans.sampled(parent, int(parent.trace_id[16:], 16)):
            trace.sample(others[1:], begun)
        return trace

    def own(self, links: tuple[SpanContext, ...] = (), begun: Trace | None = None) -> Trace:
        """A trace that begins here."""
        if self.spans is None:  # durations alone are counted
            return Trace(None)
        return materialized(*self.begin(self.spans, links, begun))

    def begin(self, spans: Spans, links: tuple[SpanContext, ...] = (), begun: Trace | None = None) -> tuple[Trace, str]:
        """The same, and its id: nothing is built for one that is not recorded."""
        ids = self._ids
        try:
            drawn = ids.drawn.pop()
        except IndexError:
            drawn = ids.draw(spans.bound)
        if type(drawn) is str:
            return self._unrecorded, drawn
        trace = Trace(spans, drawn[0])
        trace.sample(links, begun)
        return trace, trace.trace_id

    def count(self, trace: Trace, method: str, error: str) -> None:
        """Count a request that was refused before it could become a call, where durations are."""
        if self.operations is not None and trace.began_ns:  # a call's own, which the recorder has counted
            seconds = max(0, time.time_ns() - trace.began_ns) / 1e9
            self.operations.record((method, "", "", "", "tcp", error, ""), seconds)

    def task(self, origin: Trace) -> Trace:
        """Of a task's run: it outlives the call that began it, so it is linked and no child; sampled as that was."""
        if self.spans is None:
            return origin
        trace = Trace(self.spans, draw(128).to_bytes(16, "big").hex())
        if origin.flags & SAMPLED:
            called = SpanContext(origin.trace_id, origin.span_id, origin.flags, origin.state)
            trace.sample((called,) if origin.span_id else (), None)
        return trace


def _passed(stated: SpanContext, *, passes: bool) -> Trace:
    """A trace that others record."""
    trace = Trace(None, stated.trace_id)
    trace.span_id, trace.flags, trace.state, trace.passes = stated.span_id, stated.flags, stated.state, passes
    return trace


def restored(traceparent: str) -> Trace | None:
    """The trace of a call that was kept as text."""
    stated = read(traceparent)
    return None if stated is None else _passed(stated, passes=True)


class Step:
    """A step of a request as a context manager: a child span where its trace is recorded, else next to nothing."""

    # Of the class until it is recorded.
    attributes: dict[str, str | int] = {}  # noqa: RUF012 - nothing is put into this one

    def __init__(self, name: str, kind: Kind = "internal", about: About = dict) -> None:
        """`about` makes its attributes, where it is recorded."""
        self.name, self.kind, self._about = name, kind, about
        self.began_ns = self.ended_ns = 0
        self.error: str | None = None
        self._trace: Trace | None = None
        self._span: Any = None

    def __enter__(self) -> Self:
        trace = here.get().trace
        if trace is None or type(trace) is Unrecorded or trace.spans is None:
            return self
        if trace.span is None and not trace.remembers:
            return self
        self._trace, self.attributes = trace, dict(self._about())
        if trace.span is not None:
            self._span = trace.spans.child(self.name, self.kind, self.attributes)
        else:
            self.began_ns = time.time_ns()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        trace = self._trace
        if trace is None:
            return
        if kind is not None and self.error is None:
            self.failed(kind.__name__)  # its text may hold what a caller sent
        if self._span is not None and trace.spans is not None:
            trace.spans.end(self._span, self.attributes, error=self.error)
        else:
            self.ended_ns = time.time_ns()
            trace.early = [*(trace.early or ()), self]

    def failed(self, why: str) -> None:
        """It failed, for a reason of a closed set."""
        if self._trace is None:
            return
        self.error = ""
        self.attributes[names.ERROR_TYPE] = why

    def answered(self, status: int) -> None:
        """The status of an answer over HTTP; to whom called, what is no success is a failure."""
        if self._trace is None:
            return
        self.attributes[names.HTTP_STATUS] = status
        if status >= 400:
            self.failed(str(status))

    @property
    def outgoing(self) -> SpanContext | None:
        """What whoever is called is told."""
        around = here.get()
        if (trace := self._trace or around.trace) is None:
            return None
        trace = materialized(trace, around.request_id)
        return trace.spans.context(self._span) if self._span is not None and trace.spans else trace.outgoing()


def address_of(url: str) -> dict[str, str | int]:
    """Where a URL leads, and nothing else of it; of a bad one, for it may be a document's, nothing."""
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return {}
    return {names.SERVER_ADDRESS: parts.hostname or "", names.SERVER_PORT: port}
