"""An OTLP/HTTP receiver: what telemetry was sent, decoded by the protocol's own types."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.kit.background import served_in_a_thread

Attributes = dict[str, Any]


class Collector:
    """Everything that came, and in which words."""

    def __init__(self) -> None:
        self.url = ""
        self.status = 200
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.traces: list[ExportTraceServiceRequest] = []
        self.metrics: list[ExportMetricsServiceRequest] = []
        self.answering = threading.Event()
        self.answering.set()

    @property
    def spans(self) -> list[Span]:
        """All spans, as they came."""
        scopes = (scope for one in self.traces for batch in one.resource_spans for scope in batch.scope_spans)
        return [span for scope in scopes for span in scope.spans]

    def named(self, name: str) -> list[Span]:
        """The spans of a name."""
        return [span for span in self.spans if span.name == name]

    def latest(self) -> dict[str, Metric]:
        """The metrics of the last push, by their names."""
        scopes = (scope for batch in self.metrics[-1].resource_metrics for scope in batch.scope_metrics)
        return {metric.name: metric for scope in scopes for metric in scope.metrics}


def ids(span: Any) -> tuple[str, str]:
    """Of the trace and of the span itself, in hex digits."""
    return span.trace_id.hex(), span.span_id.hex()


def linked(span: Any) -> list[tuple[str, str]]:
    """Of the spans that it is linked to."""
    return [(one.trace_id.hex(), one.span_id.hex()) for one in span.links]


def attributes(pairs: Any) -> Attributes:
    """Attributes as a dictionary."""
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    return getattr(value, value.WhichOneof("value") or "string_value")


def resource(request: Any) -> Attributes:
    """What a request says of who sent it."""
    batches = request.resource_spans if hasattr(request, "resource_spans") else request.resource_metrics
    pairs: list[KeyValue] = list(batches[0].resource.attributes)
    return attributes(pairs)


@contextmanager
def collecting(tls: tuple[Path, Path] | None = None) -> Iterator[Collector]:
    """A receiver on loopback; `tls` are a certificate and its key."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            collector.answering.wait(30)
            body = self.rfile.read(int(self.headers["content-length"]))
            body = gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body
            collector.bodies.append(body)
            collector.headers.append({name.lower(): value for name, value in self.headers.items()})
            if collector.status == 200 and self.path == "/v1/traces":
                collector.traces.append(ExportTraceServiceRequest.FromString(body))
            elif collector.status == 200 and self.path == "/v1/metrics":
                collector.metrics.append(ExportMetricsServiceRequest.FromString(body))
            self.send_response(collector.status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector.url = f"{'http' if tls is None else 'https'}://localhost:{server.server_port}"
    with served_in_a_thread(server, tls):
        try:
            yield collector
        finally:
            collector.answering.set()
