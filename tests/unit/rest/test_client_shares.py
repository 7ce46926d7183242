"""What calls of one API share, its sockets and its headers: one call's fault is not another's."""

import asyncio
import socket

import msgspec
import pytest

from mcp_server.rest.client.connections import Connections
from mcp_server.rest.wire.transport import retries
from mcp_server.route import Route
from tests.kit.calling import AGAIN, HEAD, PATIENT, calling, fault, sent
from tests.kit.upstreams import Api, Exchange, answers, api, says


async def test_a_callers_header_does_not_stand_beside_the_servers_own() -> None:
    async with api(answers()) as one, calling(one) as made:
        asked = (("Authorization", "Bearer of-the-model"), ("X-Mine", "kept"), ("Cookie", "a=b"))
        await sent(made, msgspec.structs.replace(one.request(), headers=asked))
    head = one.seen[0].head.decode().lower()
    assert head.count("authorization:") == 1
    assert "authorization: bearer s3cret" in head
    assert "x-mine: kept" in head
    assert "cookie: a=b" in head


async def test_what_one_try_has_sent_stays_sent() -> None:
    """The first reaches the API, which is gone at the second: a DELETE may have been carried out."""

    async def goes_away(exchange: Exchange) -> None:
        server.close()
        exchange.writer.transport.abort()
        raise ConnectionResetError

    one = Api(goes_away)
    server = await asyncio.start_server(one.serve, "127.0.0.1", 0)
    one.port = server.sockets[0].getsockname()[1]
    async with calling(one, AGAIN) as made:
        found = await fault(made, one.request(method="DELETE"))
    assert (found.kind, found.sent, len(one.seen)) == ("unreachable", True, 1)
    assert "nothing was sent" not in found.text


async def test_more_calls_than_any_pool_run_at_once() -> None:
    """A shared bound could be taken whole by one caller; calls are limited for each."""
    async with api(says(HEAD)) as one, calling(one, PATIENT) as made:
        running = [asyncio.create_task(sent(made, one.request())) for _ in range(300)]
        async with asyncio.timeout(60):
            while len(one.seen) < 300:
                await asyncio.to_thread(lambda: None)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this system has no such option")
async def test_a_socket_ends_by_itself() -> None:
    pool = Connections({}, Route(), connect_s=5, read_s=30)
    with pool._socket((socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", 0))) as opened:
        assert opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
    await pool.close()


@pytest.mark.parametrize(
    "stated", ["Mon, 01 Jan 2024 00:00:00 +99999999999999999999", "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"]
)
def test_a_date_that_no_calendar_has_says_nothing(stated: str) -> None:
    assert retries.retry_after({"retry-after": stated}, 0.0) is None
