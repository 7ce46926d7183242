"""What the client tries again and what it leaves alone, over real sockets."""

import asyncio
import contextlib
import gc
import socket

import pytest

from mcp_server.rest.client import Limits
from mcp_server.rest.model import UpstreamFault
from mcp_server.rest.wire.transport.breaker import Breaker
from mcp_server.rest.wire.transport.tries import Tries
from tests.kit.calling import AGAIN, HEAD, calling, fault, sent
from tests.kit.upstreams import Act, Api, answers, api, says

# Trying again.


async def test_an_idempotent_call_is_tried_again_after_a_fault() -> None:
    acts = [says(then="resets"), says(HEAD + b"abc", then="closes"), answers(body=b"[]")]
    for method in ("GET", "PUT", "DELETE"):
        async with api(*acts) as one, calling(one, AGAIN) as made:
            assert (await sent(made, one.request(method=method))).body == b"[]"


async def test_it_is_tried_no_more_often_than_said() -> None:
    async with api(says(b"HTTP/1.1 200 OK\r\n", then="closes")) as one, calling(one, AGAIN) as made:
        assert (await fault(made, one.request(method="QUERY"))).kind == "reset"
    assert len(one.seen) == 3


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_what_may_have_been_done_is_not_sent_twice(method: str) -> None:
    async with api(says(then="resets"), answers()) as one, calling(one, AGAIN) as made:
        assert (await fault(made, one.request(method=method))).sent
    assert len(one.seen) == 1
    async with api(answers(503), answers()) as one, calling(one, AGAIN) as made:
        assert (await sent(made, one.request(method=method))).status == 503
    assert len(one.seen) == 1


async def test_any_method_is_tried_again_where_nothing_was_sent() -> None:
    """The port is closed at the first try and open at the second: the clock of the breaker is asked between them."""
    server: list[asyncio.Server] = []
    tried = asyncio.Event()
    one = Api(answers())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        one.port = taken.getsockname()[1]
    tries = 0

    def clock() -> float:
        nonlocal tries
        tries += 1
        if tries == 3:
            tried.set()
        return 0.0

    async def open_after_the_first() -> None:
        await tried.wait()
        server.append(await asyncio.start_server(one.serve, "127.0.0.1", one.port))

    limits = Limits(attempts=100, backoff_s=0.001)
    async with calling(one, limits, monotonic=clock, breaker=lambda: Breaker(threshold=1000)) as made:
        opening = asyncio.create_task(open_after_the_first())
        assert (await sent(made, one.request(method="POST", body=b"x"))).status == 200
        await opening
    server[0].close()
    assert [exchange.body for exchange in one.seen] == [b"x"]


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_a_passing_answer_is_asked_for_again_and_the_last_one_counts(status: int) -> None:
    async with api(answers(status), answers(body=b"[]")) as one, calling(one, AGAIN) as made:
        assert (await sent(made, one.request())).body == b"[]"
    async with api(answers(status, b"no")) as one, calling(one, AGAIN) as made:
        assert (await sent(made, one.request())).body == b"no"
        assert len(one.seen) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422])
async def test_an_answer_that_will_not_change_is_asked_for_once(status: int) -> None:
    async with api(answers(status)) as one, calling(one, AGAIN) as made:
        assert (await sent(made, one.request())).status == status
    assert len(one.seen) == 1


async def test_retry_after_is_waited_for_within_the_deadline_only() -> None:
    async with api(answers(429, Retry_After="0"), answers()) as one, calling(one, AGAIN) as made:
        assert (await sent(made, one.request())).status == 200
    async with api(answers(503, Retry_After="600"), answers()) as one, calling(one, AGAIN) as made:
        answer = await sent(made, one.request())
    assert (answer.status, answer.headers["retry-after"], len(one.seen)) == (503, "600", 1)


async def test_a_deadline_ends_the_waiting_between_tries() -> None:
    async with api(says(then="resets")) as one, calling(one, Limits(attempts=5, backoff_s=60)) as made:
        found = await fault(made, one.request(), deadline_s=0.2)
    assert found.kind == "timeout"


@pytest.mark.parametrize(
    "acts",
    [
        [answers(503, b"x" * 1000)],
        [answers(503, b"x" * 1000), answers()],
        [says(then="resets")],
        [says(then="resets"), answers()],
        [answers(503, retry_after="60")],
    ],
)
async def test_what_was_tried_again_is_not_kept(acts: list[Act]) -> None:
    """Requests, credentials and answers of up to eight megabytes would wait for the collector of garbage."""
    async with api(*acts) as one, calling(one, AGAIN) as made:
        gc.collect()
        gc.disable()
        try:
            with contextlib.suppress(UpstreamFault):
                await sent(made, one.request(method="PUT"))
            await asyncio.sleep(0)  # the loop itself has something to call
            assert not [each for each in gc.get_objects() if type(each) is Tries]
        finally:
            gc.enable()
