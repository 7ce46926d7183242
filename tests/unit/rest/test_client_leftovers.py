"""What has begun behind an answer when its connection is given back: it does not go on as the next caller's answer."""

import asyncio

import pytest

from tests.kit.calling import calling, sent
from tests.kit.upstreams import OK, Exchange, answers, api


@pytest.mark.parametrize("begins", [b"\r\n", b"HTTP/1.1 200 OK\r\nx-note: "], ids=["a blank line", "half a head"])
@pytest.mark.parametrize("status", [200, 204])
async def test_what_begins_while_a_connection_is_kept_does_not_go_on_as_an_answer(status: int, begins: bytes) -> None:
    """A parser that is left to itself takes these, and says nothing of them."""
    released, told = asyncio.Event(), asyncio.Event()

    async def goes_on(exchange: Exchange) -> None:
        await exchange.say(_empty(status))
        await released.wait()
        await exchange.say(begins)
        told.set()
        await exchange.reader.readuntil(b"\r\n\r\n")
        await exchange.say(OK.replace(b"200", b"203"))

    async with api(goes_on, answers()) as one, calling(one) as made:
        assert (await sent(made, one.request())).status == status
        released.set()
        await told.wait()
        for _ in range(10):  # what lies at the socket is read
            await asyncio.sleep(0)
        assert (await sent(made, one.request())).status == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("status", [200, 204])
async def test_nor_does_what_begins_in_one_piece_with_the_answer(status: int, method: str) -> None:
    """The first segment of a body that nobody expects; the next one comes when another request is there."""

    async def goes_on(exchange: Exchange) -> None:
        await exchange.say(_empty(status) + b"HTTP/1.1 200 OK\r\nx-note: ")
        await exchange.reader.readuntil(b"\r\n\r\n")
        await exchange.say(OK.replace(b"200", b"203"))

    async with api(goes_on, answers()) as one, calling(one) as made:
        assert (await sent(made, one.request(method=method))).status == status
        assert (await sent(made, one.request())).status == 200


def _empty(status: int) -> bytes:
    length = "" if status == 204 else "content-length: 0\r\n"
    return f"HTTP/1.1 {status} X\r\n{length}\r\n".encode()
