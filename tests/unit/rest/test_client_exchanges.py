"""One exchange over a connection: proxies and their tunnels, answers before their time, a body that is not taken."""

import asyncio
import socket
import ssl
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest

from mcp_server.rest.client import COPIED, UpstreamClient, connections
from mcp_server.rest.client.connections import MAX_INTERIM, PIECE
from mcp_server.rest.client.pieces import FREE_CHUNKS, LEAST
from mcp_server.rest.model import WireRequest
from mcp_server.rest.wire.address import base_of
from mcp_server.route import Route
from tests.kit.calling import PATIENT, QUICK, calling, fault, sent
from tests.kit.certificates import self_signed
from tests.kit.upstreams import OK, Act, Api, Exchange, answers, api, says

NAME = "api.example.test"
BASIC = b"Basic dXNlcjpwYXNz"
LONG = b"x" * (8 * COPIED)


async def _pumped(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while piece := await reader.read(65536):
            writer.write(piece)
    writer.close()


def tunnels(port: int) -> Act:
    """A proxy that lets a connection through to a port of loopback, whatever was asked for."""

    async def act(exchange: Exchange) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await exchange.say(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(_pumped(reader, exchange.writer), _pumped(exchange.reader, writer))

    return act


async def test_a_proxy_is_told_who_asks_and_where_to(tmp_path: Path) -> None:
    """Over TLS the proxy alone: what goes through its tunnel is the API's."""
    certificate, key = self_signed(tmp_path, NAME)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    async with api(answers(), tls=context) as one, api(tunnels(one.port)) as proxy:
        route = Route(proxy=f"http://user:pass@127.0.0.1:{proxy.port}", ca_file=str(certificate))
        async with UpstreamClient([base_of(f"https://{NAME}")], PATIENT, route) as made:
            for _ in range(2):
                assert (await sent(made, WireRequest(method="GET", url=f"https://{NAME}/x"))).status == 200
    (asked,) = proxy.seen  # one tunnel for both
    assert asked.head.startswith(f"CONNECT {NAME}:443 HTTP/1.1".encode())
    assert BASIC in asked.head
    assert b"s3cret" not in asked.head
    assert all(seen.head.startswith(b"GET /x HTTP/1.1\r\n") and BASIC not in seen.head for seen in one.seen)
    async with api(answers()) as proxy:
        route = Route(proxy=f"http://user:pass@127.0.0.1:{proxy.port}")
        async with UpstreamClient([base_of(f"http://{NAME}")], PATIENT, route) as made:
            for _ in range(2):
                assert (await sent(made, WireRequest(method="GET", url=f"http://{NAME}/x"))).status == 200
    assert all(BASIC in seen.head and f"\r\nhost: {NAME}\r\n".encode() in seen.head for seen in proxy.seen)


async def test_a_proxy_that_refuses_is_a_fault_of_which_nothing_was_sent() -> None:
    async with api(answers(407)) as proxy:
        route = Route(proxy=f"http://127.0.0.1:{proxy.port}")
        async with UpstreamClient([base_of(f"https://{NAME}")], PATIENT, route) as made:
            found = await fault(made, WireRequest(method="POST", url=f"https://{NAME}/x"))
    assert (found.kind, found.sent) == ("unreachable", False)


async def test_what_comes_before_the_answer_is_none() -> None:
    async def hints(exchange: Exchange) -> None:
        await exchange.say(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n", OK)

    async with api(hints) as one, calling(one) as made:
        for _ in range(2):
            assert (await sent(made, one.request())).body == b"{}"
    assert one.connections == 1


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("status", [200, 204, 304])
async def test_what_nobody_asked_for_is_no_answer_to_who_asks_next(method: str, status: int) -> None:
    """An API sends a body behind an answer that has none: it may be one caller's text, and look like an answer."""
    released, told = asyncio.Event(), asyncio.Event()
    length = "" if status == 204 else "content-length: 0\r\n"

    async def says_more(exchange: Exchange) -> None:
        await exchange.say(f"HTTP/1.1 {status} X\r\n{length}\r\n".encode())
        await released.wait()
        await exchange.say(OK.replace(b"200", b"203"))
        told.set()

    async with api(says_more, answers()) as one, calling(one) as made:
        assert (await sent(made, one.request(method=method))).status == status
        released.set()
        await told.wait()
        for _ in range(10):  # what lies at the socket is read
            await asyncio.sleep(0)
        for _ in range(2):
            assert (await sent(made, one.request())).status == 200
    assert one.connections == 2


@pytest.mark.parametrize(
    "behind",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nSec-WebSocket-Key1: x\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 128 + b"x: y",
    ],
)
async def test_what_is_no_answer_behind_one_is_no_fault_of_that(behind: bytes) -> None:
    async with api(says(OK + behind), answers()) as one, calling(one) as made:
        for _ in range(2):
            assert (await sent(made, one.request(method="POST"))).status == 200
    assert one.connections == 2


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("HEAD", 404), ("GET", 204), ("GET", 304)])
@pytest.mark.parametrize("stated", ["content-length: 50", "transfer-encoding: chunked"])
async def test_a_body_that_comes_late_where_none_is_expected_is_nobodys_answer(
    method: str, status: int, stated: str
) -> None:
    """The API sends it once the next request is there, which another caller has made."""

    async def goes_on(exchange: Exchange) -> None:
        await exchange.say(f"HTTP/1.1 {status} X\r\n{stated}\r\n\r\n".encode())
        await exchange.reader.readuntil(b"\r\n\r\n")
        await exchange.say(OK.replace(b"200", b"203"))

    async with api(goes_on, answers()) as one, calling(one) as made:
        assert (await sent(made, one.request(method=method))).status == status
        assert (await sent(made, one.request())).status == 200


@pytest.mark.parametrize(
    ("method", "status", "stated"),
    [("HEAD", 200, "content-length: 0\r\n"), ("GET", 304, "content-length: 0\r\n"), ("GET", 304, "")],
)
async def test_an_answer_of_no_length_keeps_its_connection(method: str, status: int, stated: str) -> None:
    async def act(exchange: Exchange) -> None:
        await exchange.say(f"HTTP/1.1 {status} X\r\n{stated}\r\n".encode())

    async with api(act) as one, calling(one) as made:
        for _ in range(2):
            assert (await sent(made, one.request(method=method))).status == status
    assert one.connections == 1


@pytest.mark.parametrize("encrypted", [False, True])
async def test_what_lies_at_the_socket_of_a_kept_connection_is_nobodys_answer(encrypted: bool, tmp_path: Path) -> None:
    """It came while the loop was busy, which has not read it yet."""
    certificate, key = self_signed(tmp_path, "127.0.0.1")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    async with api(answers(), tls=context if encrypted else None) as one:
        async with calling(one, route=Route(ca_file=str(certificate))) as made:
            assert (await sent(made, one.request())).status == 200
            one.seen[0].writer.write(OK.replace(b"200", b"203"))
            for _ in range(2):
                assert (await sent(made, one.request())).status == 200
    assert one.connections == 2


async def test_who_speaks_before_being_asked_is_no_api(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bound of connections that are passed over: else a call would make one after the other to its end."""
    monkeypatch.setattr(connections, "MAX_UNFIT", 0)
    async with api(answers()) as one, calling(one) as made:
        found = await fault(made, one.request())
    assert (found.kind, one.seen) == ("reset", [])


async def test_an_api_that_sends_interim_answers_alone_is_left() -> None:
    """Each is work in the loop of all, for as long as a call may take."""
    interim = b"HTTP/1.1 102 Processing\r\n\r\n"

    async def few(exchange: Exchange) -> None:
        await exchange.say(interim * MAX_INTERIM + OK)

    async with api(few, says(interim * (MAX_INTERIM + 1))) as one, calling(one) as made:
        assert (await sent(made, one.request())).status == 200
        assert (await fault(made, one.request(method="POST"))).kind == "protocol"
        await asyncio.wait_for(one.closed.wait(), 60)


class Untaken:
    """A server that reads no more of a request than its head; what it says then, and whether the client has gone."""

    def __init__(self, says: bytes) -> None:
        self._says, self.gone = says, asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(self._says)
        if not self._says:
            writer.transport.abort()
        with suppress(ConnectionError):
            while await reader.read(65536):
                pass
        self.gone.set()
        writer.close()


@pytest.mark.parametrize(
    ("spoken", "outcome"),
    [(b"HTTP/1.1 413 X\r\ncontent-length: 2\r\n\r\n{}", 413), (b"", "reset")],
    ids=["an answer before the body", "a reset while it is written"],
)
async def test_a_long_body_that_is_not_taken_ends_its_connection(spoken: bytes, outcome: object) -> None:
    """What is left of it would be the next request's."""
    untaken = Untaken(spoken)
    server = await asyncio.start_server(untaken.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, UpstreamClient([base_of(url, private=True)], QUICK) as made:
        request = WireRequest(method="POST", url=f"{url}/x", body=LONG)
        if outcome == "reset":
            found = await fault(made, request)
            assert (found.kind, found.sent) == ("reset", True)
        else:
            assert (await sent(made, request)).status == outcome
        await asyncio.wait_for(untaken.gone.wait(), 60)


UNASKED = {
    "a whole answer": b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nalice",
    "half of one": b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nal",
    "an end that it does not make true": b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
}


class Speaks:
    """An API that says something after the answer of the first call has been read."""

    def __init__(self, unasked: bytes) -> None:
        self._unasked, self._read, self._said = unasked, asyncio.Event(), asyncio.Event()

    async def act(self, exchange: Exchange) -> None:
        await exchange.say(OK)
        await self._read.wait()
        await exchange.say(self._unasked)
        self._said.set()

    async def heard(self, made: UpstreamClient, one: Api, other: Api) -> None:
        """A call, and what comes after it: what was sent before another one's whole exchange has arrived."""
        await sent(made, one.request("/of-alice"))
        self._read.set()
        await self._said.wait()
        await sent(made, other.request())


@pytest.mark.parametrize("unasked", UNASKED.values(), ids=UNASKED)
async def test_what_comes_while_a_connection_is_kept_is_nobodys_answer(unasked: bytes) -> None:
    speaks = Speaks(unasked)
    async with api(speaks.act, answers(201, b"bob")) as one, api(answers()) as other:
        async with UpstreamClient([one.base(), other.base()], PATIENT) as made:
            await speaks.heard(made, one, other)
            answer = await sent(made, one.request("/of-bob", "POST"))
            again = await sent(made, one.request("/of-bob", "POST"))
    assert [(found.status, found.body) for found in (answer, again)] == [(201, b"bob")] * 2
    assert one.connections == 2


async def test_an_api_that_speaks_before_it_is_asked_is_not_asked_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_UNFIT", 1)
    speaks = Speaks(OK)
    async with api(speaks.act, answers()) as one, api(answers()) as other:
        async with UpstreamClient([one.base(), other.base()], PATIENT) as made:
            await speaks.heard(made, one, other)
            assert (await fault(made, one.request())).kind == "reset"


SMUGGLED = b"GET /other HTTP/1.1\r\nhost: x\r\n\r\n"


@pytest.mark.parametrize(
    ("status", "body", "opened"),
    [
        (413, b"x" * 2 * PIECE, 2),
        (403, SMUGGLED, 2),
        (401, b"x", 2),
        (302, b"x", 2),
        (404, b"", 1),
        (200, b"x" * 2 * PIECE, 1),
        (200, SMUGGLED, 1),
    ],
    ids=["long", "request", "short", "elsewhere", "none", "taken", "request taken"],
)
async def test_what_refuses_a_body_may_not_have_read_it(status: int, body: bytes, opened: int) -> None:
    async with api(answers(status)) as one, calling(one) as made:
        for _ in range(2):
            assert (await sent(made, one.request(method="POST", body=body))).status == status
    assert one.connections == opened


@pytest.mark.parametrize("status", [200, 204])
@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS"])
async def test_where_no_body_is_expected_it_may_be_left_unread(method: str, status: int) -> None:
    async with api(answers(status, b"")) as one, calling(one) as made:
        for opened in (1, 2):
            assert (await sent(made, one.request(method=method, body=b"x"))).status == status
            assert one.connections == opened
        for _ in range(2):
            assert (await sent(made, one.request(method=method))).status == status
    assert one.connections == 3


@pytest.mark.parametrize(("method", "status"), [("POST", 401), ("DELETE", 200)])
async def test_what_an_api_leaves_unread_stands_before_nobodys_request(method: str, status: int) -> None:
    """Python's own HTTP server takes the body that a handler has not read for the next request, and keeps on."""
    heads: list[bytes] = []
    answer = f"HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n".encode()

    async def reads_no_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            while True:
                heads.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(answer)
        writer.close()

    server = await asyncio.start_server(reads_no_body, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, UpstreamClient([base_of(url, private=True)], QUICK) as made:
        await sent(made, WireRequest(method=method, url=f"{url}/x", body=b"DELETE /theirs HTTP/1.1\r\nx: "))
        await sent(made, WireRequest(method="GET", url=f"{url}/mine"))
    assert [head.partition(b" HTTP")[0] for head in heads] == [f"{method} /x".encode(), b"GET /mine"]


async def test_what_is_answered_before_it_has_gone_out_ends_its_connection() -> None:
    untaken = Untaken(OK)
    server = await asyncio.start_server(untaken.serve, sock=small())
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, UpstreamClient([base_of(url, private=True)], QUICK) as made:
        request = WireRequest(method="POST", url=f"{url}/x", body=b"x" * COPIED)
        assert (await sent(made, request)).status == 200
        await asyncio.wait_for(untaken.gone.wait(), 60)


def small() -> socket.socket:
    """A listening socket of which the kernel takes little in advance, nor sends."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    return listening


def chunked(*chunks: bytes) -> bytes:
    body = b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in chunks)
    return b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + body


async def test_a_body_of_bytes_each_in_a_chunk_of_its_own_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The work is counted: chunks that the parser has told of."""
    parsed, told = [0], aiohttp.StreamReader.end_http_chunk_receiving

    def counted(stream: aiohttp.StreamReader) -> None:
        parsed[0] += 1
        told(stream)

    monkeypatch.setattr(aiohttp.StreamReader, "end_http_chunk_receiving", counted)
    async with api(says(chunked(*[b"x"] * (20 * FREE_CHUNKS)) + b"0\r\n\r\n")) as one, calling(one, PATIENT) as made:
        found = await fault(made, one.request(method="POST"))
        await asyncio.wait_for(one.closed.wait(), 60)
    assert found.kind == "protocol"
    assert FREE_CHUNKS < parsed[0] < 6 * FREE_CHUNKS


@pytest.mark.parametrize(
    "chunks",
    [
        [b"x"] * FREE_CHUNKS,
        [b"x" * LEAST] * (FREE_CHUNKS + 100),
        [b"12345,a row,67.89\r\n"] * 20_000,
        [b"x" * 100_000] * 3,
    ],
    ids=["few", "least", "rows", "large"],
)
async def test_what_apis_send_is_read(chunks: list[bytes]) -> None:
    async def says_so(exchange: Exchange) -> None:
        await exchange.say(chunked(*chunks) + b"0\r\n\r\n")

    async with api(says_so, answers(204, b"")) as one, calling(one, PATIENT) as made:
        assert (await sent(made, one.request())).body == b"".join(chunks)
        for _ in range(2):
            assert (await sent(made, one.request())).body == b""
    assert one.connections == 1
