"""W3C Trace Context as values, and which trace a request belongs to."""

import re
import time
from typing import Any

import pytest

from mcp_server.observe import tracing
from mcp_server.observe.telemetry.environment import Sampling
from mcp_server.observe.telemetry.operations import Operations, attributes
from mcp_server.observe.trace_ids import AT_ONCE
from mcp_server.observe.tracing import (
    MAX_EARLY,
    RequestContext,
    SpanContext,
    Step,
    Trace,
    Traces,
    Unrecorded,
    here,
    materialized,
    read,
)

ONE = "a" * 32
PARENT = "b" * 16
CALLERS = SpanContext(ONE, PARENT, 1, "vendor=1")
HTTP = {b"traceparent": f"00-{'c' * 32}-{'d' * 16}-01".encode()}


class Recorded:
    """Spans that are remembered, and none of an SDK's."""

    def __init__(self, *, sampling: Sampling | None = None) -> None:
        self.sampled, self.bound = (sampling or Sampling()).takes, (sampling or Sampling()).bound
        self.seen: list[Any] = []

    def start(self, trace: Trace, name: str, kind: str, about: Any) -> Any:
        self.seen.append(("start", name, kind))
        return name

    def end(self, span: Any, attributes: Any, *, error: str | None) -> None:
        self.seen.append(("end", span, dict(attributes), error))

    def child(self, name: str, kind: str, attributes: Any) -> Any:
        self.seen.append(("child", name, dict(attributes)))
        return name

    def past(self, trace: Trace, step: Step) -> None:
        self.seen.append(("past", step.name, step.error, step.ended_ns >= step.began_ns > 0))

    def context(self, span: Any) -> SpanContext:
        return SpanContext("e" * 32, "f" * 16, 1)

    def innermost(self) -> SpanContext | None:
        return None


def traces(mode: Any = None, *, spans: Recorded | None = None) -> Traces:
    made = Traces(mode)
    made.open(spans, None)
    return made


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"00-{ONE}-{PARENT}-01", ONE),
        (f"cc-{ONE}-{PARENT}-01-what-comes-later", ONE),
        (f"00-{ONE}-{PARENT}-01-more", ""),
        (f"ff-{ONE}-{PARENT}-01", ""),
        (f"00-{'0' * 32}-{PARENT}-01", ""),
        (f"00-{ONE}-{'0' * 16}-01", ""),
        (f"00-{ONE.upper()}-{PARENT}-01", ""),
        (f"00-{ONE}-{PARENT}-1", ""),
        ("garbage", ""),
        (None, ""),
        ("0" * 200, ""),
    ],
)
@pytest.mark.requirement("7.7")
def test_a_trace_id_is_read_or_left_out(text: str | None, found: str) -> None:
    read_ = read(text)
    assert (read_.trace_id if read_ else "") == found


@pytest.mark.parametrize(
    ("state", "kept"), [("a=1,b=2", "a=1,b=2"), ("a=1\r\nx: y", ""), ("é", ""), ("a" * 513, ""), ("", ""), (None, "")]
)
def test_a_tracestate_is_passed_on_only_as_a_header_may_have_it(state: str | None, kept: str) -> None:
    found = read(f"00-{ONE}-{PARENT}-01", state)
    assert found is not None
    assert found.state == kept
    assert found.header == f"00-{ONE}-{PARENT}-01"


def test_nothing_is_traced_where_nobody_asks() -> None:
    assert traces().request({}) is None
    assert traces().call(None, None, known=True) is None
    assert traces("ignore").request(HTTP) is None
    assert traces("ignore").call(None, CALLERS, known=True) is None


def test_without_an_exporter_a_known_callers_trace_goes_on_as_it_is() -> None:
    made = traces().call(None, CALLERS, known=True)
    assert made is not None
    assert not made.sampled
    assert made.outgoing() == CALLERS
    assert (made.trace_id, made.span_id, made.flags) == (ONE, PARENT, 1)
    made.start("a", "server", dict)
    made.end({})
    assert made.span is None
    assert traces().task(made) is made


def test_a_strangers_goes_no_further_than_the_log() -> None:
    made = traces().call(None, CALLERS, known=False)
    assert made is not None
    assert (made.trace_id, made.outgoing(), made.traceparent) == (ONE, None, "")


@pytest.mark.parametrize(
    ("mode", "known", "joined", "linked"),
    [
        (None, True, True, []),
        (None, False, False, [ONE]),
        ("follow", False, True, []),
        ("link", True, False, [ONE]),
        ("ignore", True, False, []),
    ],
)
def test_whose_trace_is_joined(mode: Any, known: bool, joined: bool, linked: list[str]) -> None:
    made = traces(mode, spans=Recorded()).call(None, CALLERS, known=known)
    assert made is not None
    assert made.sampled
    assert (made.trace_id == ONE, [one.trace_id for one in made.links]) == (joined, linked)
    assert made.state == ("vendor=1" if joined else "")
    assert made.parent == (CALLERS if joined else None)


@pytest.mark.parametrize(("known", "linked"), [(True, ["c" * 32]), (False, [ONE, "c" * 32])])
def test_what_http_says_is_linked_where_the_message_says_more(known: bool, linked: list[str]) -> None:
    made = traces(spans=Recorded())
    begun = made.request(HTTP)
    assert begun is not None
    assert (begun.trace_id, begun.final) == ("c" * 32, False)
    found = made.call(begun, CALLERS, known=known)
    assert found is not None
    assert [one.trace_id for one in found.links] == linked
    only = made.call(begun, None, known=True)
    assert only is not None
    assert (only.trace_id, only.links, only.decided(known=True)) == ("c" * 32, (), only)


@pytest.mark.parametrize(
    ("sampling", "parent", "taken"),
    [
        (Sampling(), None, True),
        (Sampling(), SpanContext(ONE, PARENT, 0), False),
        (Sampling(0), None, False),
        (Sampling(0), CALLERS, True),
        (Sampling(0, by_parent=False), CALLERS, False),
        (Sampling(1 << 63), SpanContext(ONE, PARENT, 3), True),
        (Sampling(1 << 63, by_parent=False), CALLERS, False),
        (Sampling((0xA << 60) + (0xB << 56), by_parent=False), CALLERS, True),
    ],
)
def test_who_is_sampled(sampling: Sampling, parent: SpanContext | None, taken: bool) -> None:
    assert sampling.takes(parent, int(ONE[16:], 16)) is taken


def test_what_is_not_sampled_builds_no_span_and_says_so_to_an_api() -> None:
    spans = Recorded(sampling=Sampling(0))
    made = traces(spans=spans).call(None, SpanContext(ONE, PARENT, 0, "v=1"), known=True)
    assert made is not None
    mark = here.set(RequestContext(trace=made))
    with Step("GET", "client", lambda: {"never": "made"}) as step:
        told = step.outgoing
        step.answered(500)
    here.reset(mark)
    assert told is not None
    assert (told.trace_id, told.flags, told.state) == (ONE, 0, "v=1")
    assert spans.seen == []


def test_where_http_names_no_trace_it_is_decided_at_once_by_its_id() -> None:
    """Whoever is asked later, a collector that samples by the id among them, decides the same."""
    half = Sampling(1 << 63)
    made = traces(spans=Recorded(sampling=half))
    found = [one for one in (made.request({}) for _ in range(3 * AT_ONCE)) if one is not None]
    assert [one.sampled for one in found] == [half.takes(None, int(one.trace_id[16:], 16)) for one in found]
    assert {one.sampled for one in found} == {True, False}
    assert len({one.trace_id for one in found}) == 3 * AT_ONCE
    assert all(one.final and re.fullmatch("[0-9a-f]{32}", one.trace_id) for one in found)
    told = found[0].outgoing()
    assert told is not None
    assert told.trace_id == found[0].trace_id


@pytest.mark.parametrize("known", [True, False])
def test_a_call_that_names_its_trace_begins_with_it_where_its_request_is_not_sampled(*, known: bool) -> None:
    """Nothing is noted of a request that is not sampled, not even when it began: its call began in 1970."""
    before, made = time.time_ns(), traces(spans=Recorded(sampling=Sampling(0)))
    begun = made.own()
    made.open(Recorded(), None)
    for stated in (SpanContext(ONE, PARENT, 1), None):  # the second is one of several in a batch
        found = made.call(begun, stated, known=known)
        assert found is not None
        assert found.sampled
        assert before <= found.began_ns <= time.time_ns()


def test_the_steps_of_what_is_sampled_at_once_are_remembered_until_its_span_begins() -> None:
    spans = Recorded()
    served = RequestContext(trace=traces(spans=spans).request({}))
    mark = here.set(served)
    with Step("redis get"):
        assert spans.seen == []
    assert served.trace is not None
    served.trace.start("tools/call a", "server", dict)
    served.trace.end({})
    with Step("late"):
        pass
    here.reset(mark)
    assert [one[:2] for one in spans.seen] == [
        ("start", "tools/call a"),
        ("past", "redis get"),
        ("end", "tools/call a"),
    ]


def test_what_comes_before_the_trace_is_known_is_its_first_child() -> None:
    spans = Recorded()
    made = traces(spans=spans)
    begun = made.request(HTTP)
    served = RequestContext(trace=begun)
    mark = here.set(served)
    with pytest.raises(KeyError), Step("auth.fetch"):
        raise KeyError("s3cret")
    for _ in range(MAX_EARLY + 3):
        with Step("auth.verify"):
            assert spans.seen == []
    found = made.call(begun, CALLERS, known=True)
    assert found is not None
    served.trace = found
    found.start("tools/call a", "server", dict)
    with Step("GET", "client", dict) as step:
        assert step.outgoing == SpanContext("e" * 32, "f" * 16, 1)
        step.answered(404)
    found.end({"a": 1}, error="")
    with Step("late"):  # the call is over: a task that it left behind has no place in it
        pass
    here.reset(mark)
    assert spans.seen[:3] == [
        ("start", "tools/call a", "server"),
        ("past", "auth.fetch", "", True),
        ("past", "auth.verify", None, True),
    ]
    assert spans.seen[1 + MAX_EARLY :] == [
        ("child", "GET", {}),
        ("end", "GET", {"http.response.status_code": 404, "error.type": "404"}, ""),
        ("end", "tools/call a", {"a": 1}, ""),
    ]


def test_a_step_of_nobody_costs_nothing_and_tells_nobody() -> None:
    assert here.get() == RequestContext()
    with Step("redis get") as step:
        assert step.outgoing is None
        step.failed("x")
        step.answered(200)
    assert step.attributes == {}


def test_a_tasks_run_is_linked_to_its_call() -> None:
    made = traces(spans=Recorded())
    call = made.call(None, CALLERS, known=True)
    assert call is not None
    again, unsampled = (tracing.restored(one) for one in (call.traceparent, f"00-{ONE}-{PARENT}-00"))
    assert again is not None
    assert unsampled is not None
    run = made.task(again)
    assert run.sampled
    assert run.trace_id != ONE
    assert [(one.trace_id, one.span_id) for one in run.links] == [(ONE, call.span_id)]
    assert not made.task(unsampled).sampled
    assert tracing.restored("") is None


def test_durations_are_counted_without_spans_too() -> None:
    made, operations = Traces(), Operations()
    made.open(None, operations)
    begun = made.request({})
    assert begun is not None
    found = begun.decided(known=False)
    assert found is not None
    assert (found.trace_id, found.outgoing(), found.sampled) == ("", None, False)
    made.count(found, "tools/call", "no_credentials")
    Traces().count(found, "tools/call", "nobody counts")
    made.count(made.own(), "tools/call", "a call's own, whose beginning the recorder knows")
    [(operation, durations)] = operations.series.items()
    assert attributes(operation) == {
        "mcp.method.name": "tools/call",
        "network.transport": "tcp",
        "network.protocol.name": "http",
        "error.type": "no_credentials",
    }
    assert sum(durations.counts) == 1
    assert durations.total >= 0


def test_of_a_trace_that_begins_with_its_request_and_is_not_recorded_there_is_but_the_id() -> None:
    made = traces(spans=(spans := Recorded(sampling=Sampling(0))))
    trace, request_id = made.begin(spans)
    found = materialized(trace, request_id)
    assert type(trace) is Unrecorded
    assert trace is made.begin(spans)[0]
    assert found.spans is spans is not traces(spans=Recorded()).spans
    assert (found.trace_id, found.sampled, found.final, found.remembers) == (request_id, False, True, False)
    assert materialized(found, "another") is found
    with pytest.raises(AttributeError, match="span"):
        trace.end({})  # it is everybody's
    trace, request_id = traces(spans=(spans := Recorded())).begin(spans)
    assert (trace.trace_id, trace.sampled) == (request_id, True)


def test_a_step_of_one_that_is_not_recorded_tells_apis_its_id() -> None:
    mark = here.set(RequestContext("7" * 32, Unrecorded(Recorded())))
    try:
        with Step("GET") as step:
            told = step.outgoing
    finally:
        here.reset(mark)
    assert told is not None
    assert (told.trace_id, told.flags, len(told.span_id)) == ("7" * 32, 0, 16)


def test_where_a_url_leads_is_all_that_is_told_of_it() -> None:
    assert tracing.address_of("https://u:p@h/secret?q=1") == {"server.address": "h", "server.port": 443}
    assert tracing.address_of("http://h:8080/x") == {"server.address": "h", "server.port": 8080}
    assert tracing.address_of("http://h:99999/x") == {}
    assert tracing.address_of("x") == {"server.address": "", "server.port": 80}
