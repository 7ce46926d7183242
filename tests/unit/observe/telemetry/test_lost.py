"""Spans that are lost are counted, each alone: of one that no other can read, and behind the end."""

import pytest
from opentelemetry import trace

from tests.kit.collector import collecting
from tests.unit.observe.telemetry.test_exporting import lost, opened, traced


async def test_what_ends_behind_the_end_is_counted_as_lost() -> None:
    """A call that its handler goes on with: whatever takes no span any more has no room to give away either."""
    before, full = lost("traces", "not_delivered"), lost("traces", "queue_full")
    with collecting() as collector:
        telemetry, traces = opened(collector.url, None, OTEL_BSP_MAX_QUEUE_SIZE="3")
        late = [traces.own() for _ in range(5)]
        for one in late:
            one.start("late", "server", {})
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
        made.start("theirs", "server", {})
        trace.get_current_span().add_event(text, timestamp=1 if text == "\udcff" else -1)
        made.end({})
        traced(traces, "after")
        await telemetry.stop()
        assert [span.name for span in collector.spans] == ["before", "after"]
    assert lost("traces", "not_delivered") == failed + 1
