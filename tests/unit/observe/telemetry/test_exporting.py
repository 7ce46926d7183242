"""Telemetry opened and closed: certificate authorities, what is lost and counted, an end that waits for nobody."""

import gzip
import os
import socketserver
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import pytest
from opentelemetry import trace
from opentelemetry.propagate import extract
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.util.types import AnyValue
from prometheus_client import REGISTRY

from mcp_server.observe.telemetry import exporting
from mcp_server.observe.telemetry.delivery import MAX_ANSWER, MAX_WEIGHT, OtlpSession
from mcp_server.observe.telemetry.environment import Target, read
from mcp_server.observe.telemetry.exporting import Telemetry
from mcp_server.observe.telemetry.operations import MAX_SERIES, OTHERS, Operations
from mcp_server.observe.telemetry.weight import MAX_DEPTH
from mcp_server.observe.tracing import RequestContext, SpanContext, Step, Traces, here
from mcp_server.route import Route
from tests.kit.background import served_in_a_thread
from tests.kit.certificates import self_signed
from tests.kit.collector import Collector, collecting, resource
from tests.kit.logs import written_since
from tests.kit.stack import free_port, until

HEAVY = 300_000
"""Bytes of a span, more or less."""


def lost(signal: str, reason: str) -> float:
    return REGISTRY.get_sample_value("mcp_telemetry_lost_total", {"signal": signal, "reason": reason}) or 0.0


def opened(url: str, route: Route | None = None, **more: str) -> tuple[Telemetry, Traces]:
    traces = Traces()
    usual = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_BSP_SCHEDULE_DELAY": "20", "OTEL_METRICS_EXPORTER": "none"}
    telemetry = Telemetry(read(usual | more), traces, route or Route(), "unit")
    telemetry.start()
    return telemetry, traces


def traced(traces: Traces, name: str = "one") -> None:
    made = traces.call(None, None, known=True)
    assert made is not None
    made.start(name, "server", dict)
    made.end({})


async def come(collector: Collector, spans: int = 1) -> None:
    async def there() -> bool:
        return len(collector.spans) >= spans

    await until(there)


ASKS = """
import sys
LOADED = ("opentelemetry.sdk", "opentelemetry.trace", "opentelemetry.context", "opentelemetry.exporter", "requests",
    "google.protobuf")  # redis-py takes names from `opentelemetry.semconv`
import mcp_server.app, mcp_server.cli, mcp_server.cli.serve, mcp_server.cli.stdio
from mcp_server import McpServer, create_app
create_app(McpServer("s"))
print([name for name in sys.modules if name.startswith(LOADED)])
"""


def test_who_exports_nothing_imports_nothing() -> None:
    environment = {"PATH": os.environ["PATH"], "MCP_ISSUER": "https://i", "MCP_RESOURCE": "https://r/mcp"}
    run = subprocess.run([sys.executable, "-c", ASKS], env=environment, capture_output=True, text=True, check=False)
    assert run.stdout.strip() == "[]", run.stderr


async def test_what_is_recorded_is_delivered_when_it_is_closed() -> None:
    with collecting() as collector:
        telemetry, traces = opened(collector.url, OTEL_BSP_SCHEDULE_DELAY="60000", OTEL_METRICS_EXPORTER="otlp")
        traced(traces)
        await telemetry.stop()
        assert [span.name for span in collector.spans] == ["one"]
        assert len(collector.metrics) == 1  # what was measured since the last push
        assert resource(collector.traces[0])["service.name"] == "unit"
        assert not traces.on
        await telemetry.stop()  # once more is the same


async def test_an_end_does_not_wait_for_a_collector_that_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, log_file: TextIO
) -> None:
    monkeypatch.setattr(exporting, "STOP_S", 0.05)
    before = log_file.tell()
    with collecting() as collector:
        collector.answering.clear()
        telemetry, traces = opened(collector.url)
        traced(traces)
        await telemetry.stop()
        assert "could not be delivered in time" in written_since(log_file, before)


async def test_what_there_is_no_room_for_is_counted(log_file: TextIO) -> None:
    before, full = log_file.tell(), lost("traces", "queue_full")
    with collecting() as collector:
        more = {
            "OTEL_BSP_MAX_QUEUE_SIZE": "3",
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "3",
            "OTEL_BSP_SCHEDULE_DELAY": "60000",
        }
        collector.answering.clear()
        telemetry, traces = opened(collector.url, None, **more)
        for _ in range(20):
            traced(traces)
        dropped = lost("traces", "queue_full") - full
        assert 14 <= dropped <= 17  # one batch may have left the queue meanwhile
        collector.answering.set()
        await telemetry.stop()
        assert len(collector.spans) == 20 - dropped
    assert "Queue full" not in written_since(log_file, before)  # a line for each would be as many as there are calls


async def test_what_a_handler_adds_has_room_by_its_bytes() -> None:
    """A list that a caller chose, the name of an event: the SDK bounds neither, nor how deep a value is nested."""
    full, waits = lost("traces", "queue_full"), {"OTEL_BSP_SCHEDULE_DELAY": "60000"}
    with collecting() as collector:
        telemetry, traces = opened(collector.url, None, OTEL_BSP_MAX_QUEUE_SIZE="64", **waits)
        for _ in range(4):
            for add in (_nests, _adds_a_list, _adds_bytes, _adds_an_event, _adds_a_mapping):
                made = traces.own()
                made.start("heavy", "server", dict)
                add(trace.get_current_span())
                made.end({})
        traced(traces)
        heaviest = 64 * MAX_WEIGHT // HEAVY
        assert lost("traces", "queue_full") - full == 20 - heaviest
        await telemetry.stop()
        assert sorted(span.name for span in collector.spans) == ["heavy"] * heaviest + ["one"]


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("state", ["A=1", "=,", "a=1,a=2", ",".join(f"k{number}=v" for number in range(40))])
async def test_what_a_caller_says_of_a_trace_is_no_line_of_the_log(known: bool, state: str, log_file: TextIO) -> None:
    """The SDK has a line for each member of a `tracestate` that is none, with the caller's words."""
    before = log_file.tell()
    with collecting() as collector:
        telemetry, traces = opened(collector.url)
        made = traces.call(None, SpanContext("a" * 32, "b" * 16, 1, state), known=known)
        assert made is not None
        mark = here.set(RequestContext(trace=made))
        made.start("one", "server", dict)
        for number in range(200):  # as many as a caller has items, of which the SDK keeps 128
            trace.get_current_span().set_attribute(f"n{number}", number)
        with Step("two", "client"):
            pass
        made.end({})
        here.reset(mark)
        await telemetry.stop()
        assert len(collector.spans) == 2
    said = written_since(log_file, before)
    assert "opentelemetry" not in said
    assert not any(word in said for word in ("Member", "key/value", "full"))


def _adds_a_list(span: trace.Span) -> None:
    span.set_attribute("a", [1] * (HEAVY // 50))


def _nests(span: trace.Span) -> None:
    value: AnyValue = "x"
    for _ in range(MAX_DEPTH + 1):
        value = [value]
    span.set_attribute("a", value)


def _adds_bytes(span: trace.Span) -> None:
    span.set_attribute("a", bytes(HEAVY))


def _adds_an_event(span: trace.Span) -> None:
    span.add_event("x" * HEAVY)


def _adds_a_mapping(span: trace.Span) -> None:
    span.set_attribute("a", {"x" * HEAVY: 1})


async def test_what_cannot_be_delivered_is_counted_and_said_once_without_its_address(log_file: TextIO) -> None:
    before, failed = log_file.tell(), lost("traces", "not_delivered")
    with collecting() as collector:
        collector.status = 400
        telemetry, traces = opened(collector.url.replace("://", "://user:s3cret@"))
        for number in range(3):
            traced(traces)

            async def counted(so_many: int = number + 1) -> bool:
                return lost("traces", "not_delivered") - failed >= so_many

            await until(counted)
        collector.status = 200
        traced(traces)
        await come(collector)
        await telemetry.stop()
    said = written_since(log_file, before)
    assert said.count("telemetry cannot be delivered") == 1
    assert said.count("telemetry is delivered") == 1
    assert "status 400" in said
    assert "s3cret" not in said


async def test_a_collector_that_is_not_there_is_told_by_its_reason(log_file: TextIO) -> None:
    before, failed = log_file.tell(), lost("traces", "not_delivered")
    telemetry, traces = opened("http://127.0.0.1:1", None, OTEL_EXPORTER_OTLP_TIMEOUT="100")

    async def counted() -> bool:
        return lost("traces", "not_delivered") > failed

    traced(traces)
    await until(counted)
    await telemetry.stop()
    assert "ConnectionError: nothing listens there" in written_since(log_file, before)


async def test_a_companys_authority_is_believed_beside_the_systems(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    failed = lost("traces", "not_delivered")
    with collecting((certificate, key)) as collector:
        for route, more in (
            (Route(ca_file=str(certificate)), {}),
            (Route(), {"OTEL_EXPORTER_OTLP_CERTIFICATE": str(certificate)}),
        ):
            telemetry, traces = opened(collector.url, route, **more)
            traced(traces)
            await telemetry.stop()
        assert len(collector.spans) == 2
        telemetry, traces = opened(collector.url, OTEL_EXPORTER_OTLP_TIMEOUT="500")
        traced(traces)
        await telemetry.stop()
        assert len(collector.spans) == 2
    assert lost("traces", "not_delivered") == failed + 1


async def test_a_proxy_is_asked_where_one_is_stated() -> None:
    with collecting() as proxy:
        telemetry, traces = opened("http://collector.example:4318", Route(proxy=proxy.url))
        traced(traces)
        await telemetry.stop()
        assert proxy.headers[0]["host"] == "collector.example:4318"


@contextmanager
def answering(head: str, body: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """Whoever takes telemetry says this; where it is, and the heads of what came."""
    heads = list[bytes]()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            lines = [*iter(self.rfile.readline, b"\r\n")]
            heads.append(b"".join(lines))
            self.rfile.read(next(int(one.split(b":")[1]) for one in lines if one.lower().startswith(b"content-length")))
            self.wfile.write(f"HTTP/1.1 {head}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    with served_in_a_thread(server):
        yield f"http://127.0.0.1:{server.server_address[1]}", heads


def test_what_a_collector_answers_is_neither_kept_nor_unpacked() -> None:
    """A quarter of a megabyte may be 256; who answers need not be the collector."""
    packed = gzip.compress(bytes(1 << 20))
    with answering("200 OK\r\ncontent-encoding: gzip", packed) as (url, _):
        answer = OtlpSession(Target(url=url), "", "").post(url, data=b"spans", timeout=10)
        assert (answer.status_code, answer.content) == (200, b"")
    with answering("400 X", bytes(2 * MAX_ANSWER)) as (url, _):
        assert OtlpSession(Target(url=url), "", "").post(url, data=b"spans", timeout=10).status_code == 400


def test_the_key_of_a_collector_goes_nowhere_else() -> None:
    with answering("200 OK", b"") as (elsewhere, heads), answering(f"307 X\r\nlocation: {elsewhere}", b"") as (url, _):
        answer = OtlpSession(Target(url=url), "", "").post(
            url, data=b"spans", headers={"api-key": "s3cret"}, timeout=10
        )
    assert (answer.status_code, heads) == (307, [])


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"OTEL_EXPORTER_OTLP_CERTIFICATE": "/nowhere"}, "OTEL_EXPORTER_OTLP_CERTIFICATE: must be a readable file"),
        ({"OTEL_EXPORTER_OTLP_CERTIFICATE": __file__}, "OTEL_EXPORTER_OTLP_CERTIFICATE: must be a readable file"),
        ({"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": __file__}, "CLIENT_CERTIFICATE, or its key: must be a readable"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "only http/protobuf is spoken here"),
    ],
)
async def test_what_is_wrong_keeps_no_server_from_serving(more: dict[str, str], said: str, log_file: TextIO) -> None:
    before = log_file.tell()
    telemetry, traces = opened(f"http://127.0.0.1:{free_port()}", None, **more)
    assert not traces.on
    assert said in written_since(log_file, before)
    await telemetry.stop()


@pytest.mark.parametrize("limit", ["-4", "many", ""])
async def test_a_limit_that_is_none_leaves_telemetry_on(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK raises for it, for an empty one too, which a compose file cannot leave out."""
    monkeypatch.setenv("OTEL_SPAN_EVENT_COUNT_LIMIT", limit)
    telemetry, traces = opened(f"http://127.0.0.1:{free_port()}", OTEL_SPAN_EVENT_COUNT_LIMIT=limit)
    assert traces.on
    await telemetry.stop()


async def test_that_the_extra_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch, log_file: TextIO) -> None:
    before = log_file.tell()
    monkeypatch.setattr(exporting, "_PACKAGES", ("no_such_package",))
    telemetry, traces = opened("http://127.0.0.1:9")
    assert not traces.on
    assert "mcp-server-keycloak[otel]" in written_since(log_file, before)
    await telemetry.stop()


def test_series_are_bounded() -> None:
    operations = Operations()
    for number in range(MAX_SERIES + 5):
        operations.record(("tools/call", f"t{number}", "", "", "tcp", "", ""), 1000.0)
    assert len(operations.series) == MAX_SERIES + 1
    assert operations.series[OTHERS].counts[-1] == 5


def measured(traces: Traces, tracer: trace.Tracer) -> None:
    """A call in which an author measures something."""
    made = traces.call(None, None, known=True)
    assert made is not None
    mark = here.set(RequestContext(trace=made))
    made.start("call", "server", dict)
    with tracer.start_as_current_span("theirs"):
        pass
    made.end({})
    here.reset(mark)


async def test_an_authors_tracer_leads_to_the_server_whose_call_it_is_in() -> None:
    """One after the other, as an application is started again, and beside each other; a module keeps its tracer."""
    tracer = trace.get_tracer("author")
    with collecting() as first, collecting() as second:
        for _ in range(2):
            one, calls_of_one = opened(first.url)
            other, calls_of_other = opened(second.url)
            measured(calls_of_one, tracer)
            measured(calls_of_other, tracer)
            await one.stop()
            await other.stop()
        await come(first, 4)
        await come(second, 4)
    for collector in (first, second):
        theirs, calls = collector.named("theirs"), collector.named("call")
        assert sorted(span.parent_span_id for span in theirs) == sorted(span.span_id for span in calls)


async def test_so_does_one_in_a_call_that_is_not_recorded() -> None:
    """Of a message from a queue, say, whose own trace others record; the last server that was opened has closed."""
    theirs, tracer = f"00-{'ab' * 16}-{'cd' * 8}-01", trace.get_tracer("author")
    with collecting() as first, collecting() as second:
        one, calls_of_one = opened(first.url, OTEL_TRACES_SAMPLER="parentbased_always_off")
        other, _ = opened(second.url)
        assert calls_of_one.spans is not None
        begins, request_id = calls_of_one.begin(calls_of_one.spans)
        for made in (begins, calls_of_one.own()) * 2:  # of a request, and of a batch's next one
            mark = here.set(RequestContext(request_id, made))
            with tracer.start_as_current_span("theirs", extract({"traceparent": theirs})):
                pass
            here.reset(mark)
            await other.stop()
        await one.stop()
        await come(first, 4)
    assert (len(first.named("theirs")), len(second.spans)) == (4, 0)


async def test_an_authors_own_processor_is_told_of_spans() -> None:
    kept = InMemorySpanExporter()
    with collecting() as collector:
        telemetry, traces = opened(collector.url)
        trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(kept))  # type: ignore[attr-defined]
        measured(traces, trace.get_tracer("author"))
        await telemetry.stop()
    assert {span.name for span in kept.get_finished_spans()} == {"call", "theirs"}
