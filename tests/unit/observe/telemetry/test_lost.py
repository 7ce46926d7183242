"""Spans that are lost are counted, each alone: of one that no other can read, and behind the end."""

import asyncio
import gc
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

from mcp_server.observe.telemetry import exporting
from mcp_server.observe.telemetry.delivery import MAX_WEIGHT
from mcp_server.observe.tracing import Trace
from tests.kit.collector import collecting
from tests.kit.stack import until
from tests.unit.observe.telemetry.test_delivery import Connection, answering
from tests.unit.observe.telemetry.test_exporting import lost, opened, traced


async def test_what_ends_behind_the_end_is_counted_as_lost() -> None:
    """A call that its handler goes on with: whatever takes no span any more has no room to give away either."""
    before, full = lost("traces", "not_delivered"), lost("traces", "queue_full")
    with collecting() as collector:
        telemetry, traces = opened(collector.url, None, OTEL_BSP_MAX_QUEUE_SIZE="3")
        late = [traces.own() for _ in range(5)]
        for one in late:
            one.start("late", "server", dict)
        await telemetry.stop()
        for one in late:
            one.end({})
        assert collector.spans == []
    assert (lost("traces", "not_delivered") - before, lost("traces", "queue_full") - full) == (5, 0)


@pytest.mark.parametrize("text", ["\udcff", "x"])
async def test_a_span_that_has_no_form_on_the_wire_is_lost_alone(text: str) -> None:
    """A name of a file that is no UTF-8, a time of before: an author's, and others' spans leave with it."""
    failed = lost("traces", "not_delivered")
    with collecting() as collector:
        telemetry, traces = opened(collector.url, OTEL_BSP_SCHEDULE_DELAY="60000")
        traced(traces, "before")
        made = traces.own()
        made.start("theirs", "server", dict)
        trace.get_current_span().add_event(text, timestamp=1 if text == "\udcff" else -1)
        made.end({})
        traced(traces, "after")
        await telemetry.stop()
        assert [span.name for span in collector.spans] == ["before", "after"]
    assert lost("traces", "not_delivered") == failed + 1


@pytest.mark.parametrize(
    "head",
    [
        "503 X\r\nretry-after: Mon, 01 Jan 99999999999999 00:00:00 GMT",
        "429 X\r\nretry-after: Mon, 01 Jan 2024 00:00:00 +99999999999999",
        "301 X\r\nlocation: https://elsewhere.example/v1/traces",
        "307 X",
    ],
)
async def test_what_nobody_took_is_counted_and_metrics_are_pushed_again(head: str) -> None:
    """The library raises for a date that is none, and takes a redirect for success; the thread of metrics ended."""
    spans, points = lost("traces", "not_delivered"), lost("metrics", "not_delivered")

    def act(connection: Connection) -> None:
        connection.say(f"HTTP/1.1 {head}\r\ncontent-length: 0\r\n\r\n".encode())

    with answering(act) as (server, _, _):
        url = f"http://127.0.0.1:{server.server_address[1]}"
        pushes = {"OTEL_METRICS_EXPORTER": "otlp", "OTEL_METRIC_EXPORT_INTERVAL": "20"}
        telemetry, traces = opened(url, None, **pushes, OTEL_BSP_SCHEDULE_DELAY="60000")
        for _ in range(3):
            traced(traces)
        for _ in range(2):

            async def counted(before: float = lost("metrics", "not_delivered")) -> bool:
                return lost("metrics", "not_delivered") > before

            await until(counted)
        await telemetry.stop()
    assert lost("traces", "not_delivered") - spans == 3
    assert lost("metrics", "not_delivered") > points


def _ends_as_garbage(tracer: trace.Tracer) -> None:
    """What a handler's generator does that is left in the middle of its span."""

    class Kept:
        def __init__(self) -> None:
            self.me, self.span = self, tracer.start_span("theirs")

        def __del__(self) -> None:
            self.span.end()

    Kept()


async def test_a_span_that_ends_as_garbage_while_another_is_counted_holds_up_nobody() -> None:
    """Garbage is collected wherever memory is allocated, in the lock of the queue too, by the thread that holds it."""
    before = lost("traces", "queue_full")
    with collecting() as collector:
        waits = {"OTEL_BSP_SCHEDULE_DELAY": "60000", "OTEL_BSP_MAX_QUEUE_SIZE": "2"}
        telemetry, traces = opened(collector.url, None, **waits)
        tracer = trace.get_tracer("author")
        for _ in range(2):
            traced(traces)

        def ended() -> None:
            for allocated in range(400):
                _ends_as_garbage(tracer)
                made = traces.own()
                made.start("one", "server", dict)
                gc.set_threshold(gc.get_count()[0] + allocated % 60)
                made.end({})
                gc.set_threshold(100_000)

        usual = gc.get_threshold()
        gc.set_threshold(100_000)
        ending = threading.Thread(target=ended, daemon=True)
        ending.start()
        ending.join(30)
        gc.set_threshold(*usual)
        assert not ending.is_alive()
        await telemetry.stop()
    assert lost("traces", "queue_full") - before >= 400 - 2


async def test_a_span_that_ends_as_garbage_as_the_batching_thread_waits_holds_up_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """That thread has the lock of its event then; who ended a span waited for it, with the lock of the queue."""
    allocate, ended = threading._allocate_lock, threading.Event()  # type: ignore[attr-defined]

    def collects() -> object:
        """A lock is an object that is collected: to allocate one may collect others."""
        if sys._getframe(1).f_code.co_name == "wait" and threading.current_thread().name.startswith("OtelBatch"):
            monkeypatch.setattr(threading, "_allocate_lock", allocate)
            garbage.end()
            ended.set()
        return allocate()

    with collecting() as collector:
        telemetry, traces = opened(
            collector.url, None, OTEL_BSP_SCHEDULE_DELAY="60000", OTEL_BSP_MAX_EXPORT_BATCH_SIZE="1"
        )
        garbage = trace.get_tracer("author").start_span("garbage")
        monkeypatch.setattr(threading, "_allocate_lock", collects)
        traced(traces, "before")

        async def waits() -> bool:
            return ended.is_set()

        await until(waits)
        (ending := threading.Thread(target=traced, args=(traces, "after"), daemon=True)).start()
        ending.join(30)
        assert not ending.is_alive()
        await telemetry.stop()
        assert sorted(span.name for span in collector.spans) == ["after", "before", "garbage"]


async def test_each_span_that_ends_while_it_stops_has_arrived_or_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that came between the question whether it is over and the queue was neither."""
    monkeypatch.setattr(exporting, "STOP_S", 60)
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(5):
            before = lost("traces", "not_delivered")
            with collecting() as collector, ThreadPoolExecutor(6) as pool:
                telemetry, traces = opened(collector.url, None, OTEL_BSP_MAX_QUEUE_SIZE="100000")
                made = [traces.own() for _ in range(6 * 500)]
                for one in made:
                    one.start("one", "server", dict)
                some = threading.Event()
                ending = [pool.submit(_end, made[place::6], some) for place in range(6)]
                some.wait()
                await telemetry.stop()
                for each in ending:
                    each.result()
                assert len(collector.spans) + lost("traces", "not_delivered") - before == len(made)
    finally:
        sys.setswitchinterval(usual)


def _end(made: list[Trace], some: threading.Event) -> None:
    for number, one in enumerate(made):
        one.end({})
        if number == 20:
            some.set()


async def test_a_forked_child_has_a_queue_of_its_own() -> None:
    """It had the room that its parent's spans left."""
    with collecting() as collector:
        more = {"OTEL_BSP_MAX_QUEUE_SIZE": "4", "OTEL_BSP_SCHEDULE_DELAY": "60000"}
        telemetry, traces = opened(collector.url, None, **more)
        for _ in range(3):
            traced(traces)
        child = os.fork()
        if not child:
            try:
                for _ in range(3):
                    traced(traces, "the child's")
                traces.spans.provider.force_flush()  # type: ignore[union-attr]
            finally:
                os._exit(0)
        await asyncio.to_thread(os.waitpid, child, 0)
        await telemetry.stop()
        assert sorted(span.name for span in collector.spans) == ["one"] * 3 + ["the child's"] * 3


async def test_spans_that_a_processor_of_an_authors_makes_lighter_as_they_wait_leave_the_room_that_they_took() -> None:
    """It was measured again as they left: a little less room each time, until none was recorded any more."""

    class Redacting(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            held: Any = span
            held._attributes = {"name": "-"}

    full, waits = lost("traces", "queue_full"), {"OTEL_BSP_SCHEDULE_DELAY": "60000"}
    with collecting() as collector:
        telemetry, traces = opened(collector.url, None, OTEL_BSP_MAX_QUEUE_SIZE="2", **waits)
        provider: Any = trace.get_tracer_provider()
        provider.add_span_processor(Redacting())
        for _ in range(10):
            made = traces.own()
            made.start("one", "server", dict)
            trace.get_current_span().set_attribute("secret", "x" * MAX_WEIGHT)
            made.end({})
            provider.force_flush()
        await telemetry.stop()
        assert (lost("traces", "queue_full") - full, len(collector.spans)) == (0, 10)
