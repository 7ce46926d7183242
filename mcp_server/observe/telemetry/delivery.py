"""How telemetry leaves: OTLP over HTTP by a session that trusts whom the rest of the server trusts, in batches.

What cannot be kept or delivered is counted and said once; nobody waits for it.
"""

import contextlib
import logging
import ssl
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

from mcp_server.forking import renew_in_children
from mcp_server.observe import metrics
from mcp_server.observe.log import logger
from mcp_server.observe.telemetry.call_span import CallSpan
from mcp_server.observe.telemetry.encoding import encode
from mcp_server.observe.telemetry.environment import Signal, Target, TelemetryConfig, UnusableFileError
from mcp_server.observe.telemetry.weight import weight
from mcp_server.unreachable import why

MAX_ANSWER: Final = 64 * 1024
"""Bytes of an answer that are read, to keep its connection: nothing in it is of use here."""
ANSWER_S: Final = 1.0
MAX_WEIGHT: Final = 16 * 1024
"""Bytes of a span that waits, on average: what a handler adds may be a list that its caller chose, megabytes of it."""
UNSENT: Final = "nothing was sent"
_PIECE: Final = 4096
_SAYS_EACH_FAILURE: Final = ("opentelemetry.exporter", "opentelemetry.sdk", "opentelemetry.trace.span", "urllib3")
_SAYS_EACH_CUT: Final = "opentelemetry.attributes"
_CUTS: Final = ("exceeds max length", "dict is full")


class OtlpSession(requests.Session):
    """HTTP session of the OTLP exporters, with the certificate authorities and the proxy of the whole server.

    Nothing of it comes from the environment: `REQUESTS_CA_BUNDLE` and `~/.netrc` are for others.
    """

    keys: Mapping[str, str] = {}
    """Header fields of each request, secret. Another thread puts others in their place when they are rotated."""
    problem: str = ""
    """Why the last request came to nothing, for the log."""

    def __init__(self, target: Target, ca_file: str, proxy: str) -> None:
        super().__init__()
        self.trust_env = False
        if proxy:
            self.proxies = {"http": proxy, "https": proxy}
        self.headers["accept-encoding"] = "identity"
        self._context = _context(target, ca_file)
        self._others: list[object] = []
        self.begin_anew()
        renew_in_children(self)

    def begin_anew(self) -> None:
        """Have connections of its own; a forked child would write its requests into the middle of its parent's.

        The others are kept, of each process before: to close them takes locks that a thread of theirs may hold.
        """
        self._others.append(self.adapters)
        self.adapters = OrderedDict()
        self.mount("https://", _Trusting(self._context))
        self.mount("http://", HTTPAdapter())

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """Send a request; its answer is the status and the head.

        Whoever answers is not believed. A body that does not end, or unpacks to a gigabyte, would be the worker's
        memory, and one that drips its thread; no key goes elsewhere.
        """
        request.headers.update(self.keys)  # here, for a batch that is tried again was made with the old ones
        try:
            answer = super().send(request, **{**options, "stream": True, "allow_redirects": False})
        except (requests.RequestException, OSError) as error:
            self.problem = why(error)
            raise
        self.problem = "" if 200 <= answer.status_code < 300 else f"status {answer.status_code}"
        _read(answer)
        return answer


def _read(answer: requests.Response) -> None:
    """Read what there is of a body, so that its connection is kept."""
    until, left = time.monotonic() + ANSWER_S, MAX_ANSWER
    try:
        while piece := answer.raw.read1(_PIECE, decode_content=False):
            left -= len(piece)
            if left < 0 or time.monotonic() >= until:
                answer.close()
                break
    except (HTTPError, OSError):  # its status is there, and it is all that counts
        answer.close()


def _context(target: Target, ca_file: str) -> ssl.SSLContext:
    """Whom to trust, and who we are; raises `UnusableFileError`."""
    with _file_of("OTEL_EXPORTER_OTLP_CERTIFICATE"):
        context = ssl.create_default_context(cafile=target.ca_file or None)
    if ca_file and not target.ca_file:
        with _file_of("MCP_CA_FILE"):
            context.load_verify_locations(ca_file)
    if target.client_certificate:
        with _file_of("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE, or its key"):
            context.load_cert_chain(target.client_certificate, target.client_key or None)
    return context


@contextlib.contextmanager
def _file_of(variable: str) -> Iterator[None]:
    """Name the variable, or the one of all signals, where its file is none."""
    try:
        yield
    except OSError as error:  # ssl.SSLError is one
        raise UnusableFileError(f"{variable}: must be a readable file of PEM") from error


class _Trusting(HTTPAdapter):
    """Leaves to a context whom to trust: requests would add the authorities that `certifi` brings."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, ssl_context=self._context)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        return super().proxy_manager_for(proxy, **kwargs, ssl_context=self._context)

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Nothing to add."""


def compression(target: Target) -> Compression:
    """In the exporters' words."""
    return Compression.Gzip if target.gzip else Compression.NoCompression


class DeliveryStatus:
    """Delivery status of one signal: logged when it changes, and what was lost is counted."""

    def __init__(self, signal: Signal, target: Target, session: OtlpSession) -> None:
        self._signal, self._host, self._failing = signal, urlsplit(target.url).hostname, False
        self._session = session

    def delivers(self, export: Callable[[], bool]) -> bool:
        """Whether an export by the library has come to somebody; what it raises is a failure that counts as others do.

        It computes with what whoever answers has chosen (`Retry-After` may be a date of any year), and takes a redirect
        for success, though it follows none.
        """
        try:
            return export() and not self._session.problem
        except Exception:  # noqa: BLE001 - else what is lost is not counted, and the thread of metrics ends
            return False

    def record(self, *, delivered: bool, items: int, reason: str = "") -> None:
        """A batch has been tried; `reason` is why none was sent."""
        if not delivered:
            metrics.telemetry_lost(self._signal, "not_delivered", items)
        if delivered != self._failing:
            return
        self._failing = not delivered
        if delivered:
            logger.info("telemetry is delivered", signal=self._signal, host=self._host)
        else:
            why_not = reason or self._session.problem
            logger.warning("telemetry cannot be delivered", signal=self._signal, host=self._host, reason=why_not)


class _Exporter(OTLPSpanExporter):
    """The library's, with an encoding of our own."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if self._shutdown:
            return SpanExportResult.FAILURE
        try:
            data = encode(spans)
        except Exception:  # noqa: BLE001 - nothing is sent, which who asks for it sees
            return SpanExportResult.FAILURE
        if len(data) > self._max_request_size or not self._client.export(data).success:
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS


class CountedSpanExporter(SpanExporter):
    """Span exporter over OTLP that counts what became of each batch."""

    def __init__(self, target: Target, session: OtlpSession, left: Callable[[Sequence[ReadableSpan]], None]) -> None:
        self._inner = _Exporter(target.url, timeout=target.timeout_s, compression=compression(target), session=session)
        self._session, self._left, self._status = session, left, DeliveryStatus("traces", target, session)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Deliver a batch, in the batching thread."""
        self._left(spans)
        self._session.problem = UNSENT
        delivered = self._deliver(spans)
        if self._session.problem == UNSENT and (fit := [one for one in spans if _can_be_sent(one)]):
            metrics.telemetry_lost("traces", "not_delivered", len(spans) - len(fit))
            spans, delivered = fit, self._deliver(fit)
        self._status.record(delivered=delivered, items=len(spans))
        return SpanExportResult.SUCCESS if delivered else SpanExportResult.FAILURE

    def _deliver(self, spans: Sequence[ReadableSpan]) -> bool:
        return self._status.delivers(lambda: self._inner.export(spans) is SpanExportResult.SUCCESS)

    def shutdown(self) -> None:
        """Close the connections; a pause between two tries ends."""
        self._inner.shutdown()  # type: ignore[no-untyped-call]


def _can_be_sent(span: ReadableSpan) -> bool:
    """Whether it has a form on the wire: a text that is no Unicode, or a time before 1970, has none."""
    try:
        encode([span])
    except Exception:  # noqa: BLE001 - whatever it is, it is the span's, and others of its batch are not lost with it
        return False
    return True


class BoundedSpanProcessor(BatchSpanProcessor):
    """Batch span processor with a bounded queue; spans for which there is no room are counted, and none is logged."""

    def __init__(self, config: TelemetryConfig, target: Target, session: OtlpSession) -> None:
        self._places, self._batch, self._over = config.queue, config.batch, False
        self.begin_anew()
        renew_in_children(self)  # whose hook comes before the base's own, which begins a thread
        super().__init__(
            CountedSpanExporter(target, session, self._left),
            max_queue_size=config.queue,
            schedule_delay_millis=config.delay_s * 1000,
            max_export_batch_size=config.batch,
        )

    def begin_anew(self) -> None:
        """An empty queue; in a forked child, too: what waits there is the parent's to deliver."""
        # Of the same thread a lock must let in again: a generator that is collected as garbage may end a span.
        self._lock = threading.RLock()
        self._room, self._bytes = self._places, self._places * MAX_WEIGHT
        self._heavy = deque[int]()
        """What the queued ones weigh, the oldest last: an author's processor may change them as they wait."""

    def on_end(self, span: ReadableSpan) -> None:
        """A span is over, in whatever thread."""
        if type(span) is not CallSpan and (span.context is None or not span.context.trace_flags.sampled):
            return
        heavy, why_not = weight(span), ""
        with self._lock:
            if self._over:  # what is queued now, nobody takes out
                why_not = "not_delivered"
            elif not self._room or heavy > self._bytes:
                why_not = "queue_full"
            else:  # in one with the question whether it is over: else the end may come between
                self._room, self._bytes = self._room - 1, self._bytes - heavy
                self._heavy.appendleft(heavy)
                self._batch_processor._queue.appendleft(span)  # noqa: SLF001 - and no `emit`, see `_wake`
        if why_not:
            metrics.telemetry_lost("traces", why_not)
        elif self._places - self._room >= self._batch:
            self._wake()

    def _wake(self) -> None:
        """Have a batch delivered now, as the base's `emit` does, but neither in our lock nor in the batching thread.

        That thread may collect garbage, in which a span ends, where it holds the lock of this event.
        """
        batches = self._batch_processor
        wakes = batches._worker_awaken  # noqa: SLF001
        if not wakes.is_set() and batches._worker_thread.ident != threading.get_ident():  # noqa: SLF001
            wakes.set()

    def shutdown(self) -> None:
        """Deliver what is left, and take nothing more."""
        with self._lock:
            self._over = True
        super().shutdown()  # type: ignore[no-untyped-call]

    def _left(self, spans: Sequence[ReadableSpan]) -> None:
        with self._lock:  # they come in the order of the queue
            heavy = sum(self._heavy.pop() for _ in spans)
            self._room, self._bytes = self._room + len(spans), self._bytes + heavy


def silence_sdk_log() -> None:
    """Silence the SDK's log of each failure of each batch, with its address: `DeliveryStatus` logs what matters.

    And what callers bring about: that of each text that is cut, of each attribute too many, and of each member of a
    `tracestate` that is none, which has their words. What else is wrong with an attribute is the author's.
    """
    for name in _SAYS_EACH_FAILURE:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    logging.getLogger(_SAYS_EACH_CUT).addFilter(_is_no_cut)


def _is_no_cut(record: logging.LogRecord) -> bool:
    return not any(said in str(record.msg) for said in _CUTS)
