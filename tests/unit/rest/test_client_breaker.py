"""The breaker, over real sockets: all callers share it, so only what none of them brings about opens it."""

import asyncio

import pytest

from mcp_server.rest.client import Limits, UpstreamClient
from mcp_server.rest.model import WireRequest
from mcp_server.rest.wire.transport.breaker import Breaker
from tests.kit.calling import AGAIN, HEAD, PATIENT, calling, fault, sent
from tests.kit.stack import free_port
from tests.kit.upstreams import OK, Act, Api, Exchange, answers, api, says


def away() -> Api:
    """An API whose port is closed, and that may listen later."""
    one = Api(answers())
    one.port = free_port()
    return one


def once() -> Breaker:
    return Breaker(threshold=1, open_s=5)


async def test_an_api_that_cannot_be_reached_is_left_alone_for_a_while() -> None:
    now, one = 0.0, away()
    async with calling(one, breaker=lambda: Breaker(threshold=2, open_s=5), monotonic=lambda: now) as made:
        assert [(await fault(made, one.request())).kind for _ in range(2)] == ["unreachable"] * 2
        found = await fault(made, one.request())
        assert (found.kind, found.sent) == ("open_circuit", False)
        assert "another 5 s" in found.text
        async with await asyncio.start_server(one.serve, "127.0.0.1", one.port):
            assert (await fault(made, one.request())).kind == "open_circuit"
            assert one.connections == 0
            now = 5.0
            for _ in range(2):
                assert (await sent(made, one.request())).status == 200


async def test_a_call_counts_once_however_often_it_is_tried() -> None:
    one, breaker = away(), Breaker(threshold=2)
    async with calling(one, AGAIN, breaker=lambda: breaker) as made:
        assert (await fault(made, one.request())).kind == "unreachable"
        assert breaker.allows(0)
        await fault(made, one.request())
        assert (await fault(made, one.request())).kind == "open_circuit"


@pytest.mark.parametrize(
    ("act", "limits"),
    [
        *((answers(status), PATIENT) for status in (500, 502, 503, 504)),
        (answers(503), AGAIN),
        (says(then="resets"), PATIENT),
        (says(then="resets"), AGAIN),
        (says(HEAD + b"abc", then="closes"), PATIENT),
        (says(), Limits(read_s=0.2, attempts=1)),
        (says(), PATIENT),
        (says(HEAD), PATIENT),
        (answers(200, b"x", Content_Encoding="br"), PATIENT),
        (answers(200, b"no gzip", Content_Encoding="gzip"), PATIENT),
        (says(b"HTTP/1.1 banana\r\n\r\n", then="closes"), PATIENT),
    ],
)
async def test_what_one_caller_s_arguments_bring_about_closes_nothing_to_others(act: Act, limits: Limits) -> None:
    async def acts(exchange: Exchange) -> None:
        await (act(exchange) if b"/report" in exchange.head else exchange.say(OK))

    async with api(acts) as one, calling(one, limits, breaker=once) as made:
        for _ in range(3):
            report = made.send(one.request("/report", "POST"), deadline_s=0.4, max_bytes=1000)
            await asyncio.gather(report, return_exceptions=True)
            assert (await sent(made, one.request("/orders"))).status == 200
    assert sum(b"/report" in exchange.head for exchange in one.seen) == 3


async def test_a_host_that_is_away_closes_no_other_host_of_the_api() -> None:
    gone = away()
    async with api(answers()) as one, UpstreamClient([one.base(), gone.base()], PATIENT, breaker=once) as made:
        assert [(await fault(made, gone.request())).kind for _ in range(2)] == ["unreachable", "open_circuit"]
        assert (await sent(made, one.request())).status == 200
        assert (await fault(made, gone.request())).kind == "open_circuit"  # nor does an answer of one open the other


async def test_a_trial_whose_caller_goes_away_or_waits_leaves_it_to_the_next() -> None:
    now, one = 0.0, away()
    one.acts = [says(), says(), answers()]
    async with calling(one, breaker=once, monotonic=lambda: now) as made:
        assert (await fault(made, one.request())).kind == "unreachable"
        now = 5.0
        async with await asyncio.start_server(one.serve, "127.0.0.1", one.port):
            call = asyncio.create_task(sent(made, one.request()))
            await asyncio.wait_for(one.arrived.wait(), 60)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            one.arrived.clear()
            slow = asyncio.create_task(sent(made, one.request("/report")))
            await asyncio.wait_for(one.arrived.wait(), 60)
            assert (await fault(made, one.request())).kind == "open_circuit"
            now = 10.0
            assert (await sent(made, one.request())).status == 200
            slow.cancel()
            await asyncio.gather(slow, return_exceptions=True)
            assert (await sent(made, one.request())).status == 200


async def test_what_is_never_sent_is_no_fault_of_the_api() -> None:
    async with api(answers()) as one:
        made = UpstreamClient([one.base()], PATIENT, breaker=once)
        assert (await fault(made, one.request())).kind == "unreachable"  # before it is opened
        async with made:
            bad = WireRequest(method="GET", url=one.request().url, headers=(("x-a", "b\r\nc: d"),))
            found = await fault(made, bad)
            assert (found.kind, found.sent) == ("protocol", False)
            assert (await fault(made, one.request(host="localhost"))).kind == "unreachable"
            assert (await sent(made, one.request())).status == 200
    assert len(one.seen) == 1
