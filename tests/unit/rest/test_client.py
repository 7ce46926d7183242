"""The client against APIs that misbehave, over real sockets: a clear fault each, in time, and no connection left behind."""

import asyncio
import gzip
import os
import socket
import ssl
import zlib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mcp_server.rest import client as client_module
from mcp_server.rest.client import Limits, UpstreamClient, trusting
from mcp_server.rest.model import WireRequest
from mcp_server.rest.wire import media
from mcp_server.rest.wire.address import base_of
from mcp_server.route import Route
from tests.kit.calling import HEAD, PATIENT, QUICK, calling, fault, sent
from tests.kit.certificates import self_signed
from tests.kit.upstreams import OK, Exchange, answers, api, says


async def test_an_answer_comes_back_whole() -> None:
    act = answers(201, b'{"a":1}', Content_Type="application/json", Link="<a>", link="<b>", X_A="\xe9")
    async with api(act) as one, calling(one) as made:
        request = one.request("/a%2Fb/%2E%2E?q=%5B'&x=a+b", "POST", b'{"b":2}')
        answer = await sent(made, msgspec.structs.replace(request, headers=(("cookie", "a=b%20c; d=e"),)))
    assert (answer.status, answer.body, answer.cut) == (201, b'{"a":1}', False)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["link"] == "<a>, <b>"
    head = one.seen[0].head.decode().split("\r\n")
    assert head[0] == "POST /a%2Fb/%2E%2E?q=%5B'&x=a+b HTTP/1.1"  # as it was pinned, byte for byte
    assert "authorization: Bearer s3cret" in head
    assert "cookie: a=b%20c; d=e" in head
    assert one.seen[0].body == b'{"b":2}'


async def test_a_connection_is_kept_and_no_cookie_is() -> None:
    async with api(answers(Set_Cookie="session=alice")) as one, calling(one) as made:
        for _ in range(3):
            await sent(made, one.request())
    assert one.connections == 1
    assert all(b"cookie" not in exchange.head.lower() for exchange in one.seen)


async def test_a_long_body_arrives_whole() -> None:
    body = b"x" * (client_module.COPIED + 1)
    async with api(answers()) as one, calling(one, PATIENT) as made:
        await sent(made, one.request(method="POST", body=body))
    assert one.seen[0].body == body
    assert b"chunked" not in one.seen[0].head.lower()


async def test_nothing_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    async with UpstreamClient([base_of(f"http://127.0.0.1:{port}", private=True)], PATIENT) as made:
        found = await fault(made, WireRequest(method="POST", url=f"http://127.0.0.1:{port}/"))
    assert (found.kind, found.sent) == ("unreachable", False)
    assert "safe to try again" in found.text


async def test_a_name_that_nobody_knows() -> None:
    async with UpstreamClient([base_of("http://nobody.invalid", private=True)], PATIENT) as made:
        found = await fault(made, WireRequest(method="GET", url="http://nobody.invalid/"))
    assert (found.kind, found.sent) == ("unreachable", False)
    assert "nobody" not in found.text


FAULTY = {
    "a head that never comes": (says(), "timeout"),
    "half a head": (says(b"HTTP/1.1 200 OK\r\n"), "timeout"),
    "a stalled body": (says(HEAD + b"abc"), "timeout"),
    "a reset in the body": (says(HEAD + b"abc", then="resets"), "reset"),
    "an end in the body": (says(HEAD + b"abc", then="closes"), "reset"),
    "an end in a chunk": (says(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nff\r\nabc", then="closes"), "reset"),
    "an end without an answer": (says(then="closes"), "reset"),
    "what is not HTTP": (says(b"SSH-2.0-OpenSSH_9.7\r\n\r\n"), "protocol"),
    "a status that is none": (says(b"HTTP/1.1 abc X\r\n\r\n"), "protocol"),
    "endless headers": (says(b"HTTP/1.1 200 OK\r\n", *[b"x-%d: %s\r\n" % (n, b"y" * 1000) for n in range(200)]), "protocol"),
    "a chunk that is none": (says(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"), "protocol"),
    "what does not decompress": (says(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 9\r\n\r\nhello"), "protocol"),
    "two codings": (says(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip, gzip\r\ncontent-length: 9\r\n\r\nabc"), "protocol"),
    "a coding not asked for": (says(b"HTTP/1.1 200 OK\r\ncontent-encoding: br\r\ncontent-length: 9\r\n\r\nabc"), "protocol"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTY)
async def test_a_fault_after_sending_is_named(name: str) -> None:
    act, kind = FAULTY[name]
    limits = Limits(read_s=0.3, attempts=1) if kind == "timeout" else PATIENT
    async with api(act) as one, calling(one, limits) as made:
        found = await fault(made, one.request(method="POST"))
        assert (found.kind, found.sent) == (kind, True)
        assert "it may have been carried out" in found.text
        await asyncio.wait_for(one.closed.wait(), 10)  # and the connection is no longer held
    assert one.connections == 1


async def test_a_drip_ends_at_the_deadline_of_the_whole() -> None:
    async def drip(exchange: Exchange) -> None:
        await exchange.say(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
        while True:
            await exchange.say(b"x")
            await asyncio.sleep(0.01)

    async with api(drip) as one, calling(one) as made:
        found = await fault(made, one.request(), deadline_s=0.6)
        await asyncio.wait_for(one.closed.wait(), 60)
    assert (found.kind, found.sent) == ("timeout", True)
    assert "0.6 s that it was given" in found.text


async def test_a_connection_that_nobody_accepts_ends_in_time() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]  # the backlog is full: the next SYN is not answered
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        async with UpstreamClient([base_of(f"http://127.0.0.1:{port}", private=True)], QUICK) as made:
            found = await fault(made, WireRequest(method="POST", url=f"http://127.0.0.1:{port}/"))
        for one in waiting:
            one.close()
    assert (found.kind, found.sent) == ("timeout", False)


@pytest.mark.parametrize("where", [says(), says(HEAD + b"abc")])
async def test_a_cancelled_call_frees_its_connection(where: Any) -> None:
    async with api(where) as one, calling(one, PATIENT) as made:
        call = asyncio.create_task(sent(made, one.request()))
        await asyncio.wait_for(one.arrived.wait(), 60)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.wait_for(one.closed.wait(), 60)


async def test_a_hundred_megabytes_are_cut_at_the_bound_and_read_no_further() -> None:
    written = 0

    async def endless(exchange: Exchange) -> None:
        nonlocal written
        await exchange.say(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n")
        for _ in range(1600):
            await exchange.say(b"x" * 62500)
            written += 62500

    async with api(endless) as one, calling(one, PATIENT) as made:
        answer = await sent(made, one.request(), max_bytes=100_000)
        await asyncio.wait_for(one.closed.wait(), 60)
    assert (answer.body, answer.cut) == (b"x" * 100_000, True)
    assert written < 50_000_000


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_a_bomb_is_stopped_at_the_bound(coding: str) -> None:
    """Fragment 11 of the design: 100 MB in 100 KB."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31 if coding == "gzip" else 15)
    bomb = b"".join(packer.compress(bytes(1_000_000)) for _ in range(100)) + packer.flush()
    async with api(answers(body=bomb, Content_Encoding=coding)) as one, calling(one, PATIENT) as made:
        answer = await sent(made, one.request(), max_bytes=1_000_000)
    assert (len(answer.body), answer.cut) == (1_000_000, True)


async def test_compressed_answers_are_unpacked() -> None:
    async with api(answers(body=gzip.compress(b'{"a":1}'), Content_Encoding="gzip")) as one, calling(one) as made:
        answer = await sent(made, one.request())
    assert (answer.body, answer.cut) == (b'{"a":1}', False)


PACKED = {
    "gzip": gzip.compress(b"[1, 2, 3]" * 50),
    "x-gzip": gzip.compress(b"[1, 2, 3]" * 25) + gzip.compress(b"[1, 2, 3]" * 25),
    "deflate": zlib.compress(b"[1, 2, 3]" * 50),
}


@pytest.mark.parametrize("coding", PACKED)
async def test_a_compressed_body_that_stops_half_way_is_no_answer(coding: str) -> None:
    """Its length in bytes is the one that was told: only the unpacker can tell."""
    body = PACKED[coding]
    for cut in (body[:-1], body[:-9], body[:12], body[:1]):
        async with api(answers(body=cut, Content_Encoding=coding)) as one, calling(one) as made:
            found = await fault(made, one.request(method="POST"))
            assert (found.kind, found.sent) == ("reset", True)
            assert "the API's answer was cut" in found.text
    async with api(answers(body=body, Content_Encoding=coding)) as one, calling(one) as made:
        assert (await sent(made, one.request())).body == b"[1, 2, 3]" * 50
    async with api(answers(body=b"", Content_Encoding=coding)) as one, calling(one) as made:
        assert (await sent(made, one.request(method="HEAD"))).body == b""


async def test_an_answer_as_long_as_the_bound_is_not_cut() -> None:
    async with api(answers(body=b"12345")) as one, calling(one) as made:
        assert not (await sent(made, one.request(), max_bytes=5)).cut
        assert (await sent(made, one.request(), max_bytes=4)).cut


CHUNKED = "HTTP/1.1 200 OK\r\ncontent-type: {}\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("kind", "pieces", "body"),
    [
        ("text/event-stream", (b"data: 1\n\n", b"data: 2\n\n", b"da"), b"data: 1\n\ndata: 2\n\nda"),
        ("application/x-ndjson", (b'{"a":1}\n{"b',), b'{"a":1}\n{"b'),
        ("application/json", (b'[{"a":1},', b'{"a":2},{'), b'[{"a":1},{"a":2},{'),
        ("application/json", (b'{"type":"ADDED"}\n',), b'{"type":"ADDED"}\n'),
        ("text/plain", (b"so far",), b"so far"),
    ],
)
@pytest.mark.parametrize("limits", [PATIENT, QUICK])
async def test_what_came_of_an_answer_without_end_is_given(kind: str, pieces: Any, body: bytes, limits: Any) -> None:
    """At the end of the call's time, or where nothing more comes; and the connection is closed."""
    act = says(CHUNKED.format(kind).encode(), *(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces))
    async with api(act) as one, calling(one, limits) as made:
        answer = await sent(made, one.request(), deadline_s=0.6 if limits is PATIENT else 10)
        assert (answer.body, answer.cut) == (body, True)
        await asyncio.wait_for(one.closed.wait(), 60)


async def test_events_without_end_are_read_for_so_long_though_something_comes_all_the_time() -> None:
    async def beats(exchange: Exchange) -> None:
        await exchange.say(CHUNKED.format("text/event-stream").encode(), b"9\r\ndata: 1\n\n\r\n")
        while True:
            await exchange.say(b"3\r\n:\n\n\r\n")
            await asyncio.sleep(0.01)

    async with api(beats) as one, calling(one, Limits(attempts=1, stream_s=0.1)) as made:
        answer = await sent(made, one.request(), deadline_s=600)
        await asyncio.wait_for(one.closed.wait(), 60)
    assert media.items(answer) == (b"[1]", True)


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (CHUNKED.format("text/event-stream"), b": not yet\n\n"),
        (CHUNKED.format("application/json"), b'{"a": [1, 2,'),
        (CHUNKED.format("application/json"), b"[12"),
        (CHUNKED.format("application/json"), b""),
        (CHUNKED.format("application/octet-stream"), b"abc"),
        (CHUNKED.format("text/event-stream").replace("200 OK", "500 X"), b"data: 1\n\n"),
        ("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n", b'[{"a":1},{'),
    ],
)
async def test_a_part_that_says_nothing_without_the_rest_is_a_fault(head: str, body: bytes) -> None:
    piece = b"%x\r\n%s\r\n" % (len(body), body) if "chunked" in head and body else body
    async with api(says(head.encode() + piece)) as one, calling(one) as made:
        found = await fault(made, one.request(method="POST"), deadline_s=0.6)
    assert (found.kind, found.sent) == ("timeout", True)


async def test_a_flood_of_events_is_read_to_a_bound_of_its_own() -> None:
    async def floods(exchange: Exchange) -> None:
        await exchange.say(CHUNKED.format("text/event-stream").encode())
        while True:
            await exchange.say(b"ffff\r\n" + b"data: 1\n\n" * 7281 + b"data: \r\n")

    async with api(floods) as one, calling(one) as made:
        answer = await sent(made, one.request(), max_bytes=50_000_000)
    assert (len(answer.body), answer.cut) == (media.MAX_STREAM, True)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_an_answer(status: int) -> None:
    async with api(answers()) as elsewhere:
        async with api(answers(status, Location=f"http://127.0.0.1:{elsewhere.port}/")) as one, calling(one) as made:
            answer = await sent(made, one.request())
    assert (answer.status, elsewhere.seen) == (status, [])


@pytest.mark.parametrize("act", [answers(204, b""), answers(304, b"")])
async def test_an_answer_without_a_body(act: Any) -> None:
    async with api(act) as one, calling(one) as made:
        assert (await sent(made, one.request())).body == b""
        assert (await sent(made, one.request(method="HEAD"))).body == b""


# Where it may go.


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/",
        "https://127.0.0.1:{port}/",
        "http://localhost:{port}/",
        "http://127.0.0.1@127.0.0.2:{port}/",
    ],
)
async def test_no_origin_but_its_own_is_called(url: str) -> None:
    async with api(answers()) as one, calling(one) as made:
        found = await fault(made, WireRequest(method="GET", url=url.format(port=one.port)))
        assert (found.kind, found.sent) == ("unreachable", False)
    assert one.connections == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_an_address_inside_is_called_only_where_an_operator_named_it(host: str) -> None:
    """A name is looked at when it is connected to, so one that leads elsewhere by then leads nowhere."""
    async with api(answers()) as one:
        async with UpstreamClient([one.base(private=False, host=host)], PATIENT) as made:
            found = await fault(made, one.request(host=host))
        assert (found.kind, found.sent, one.connections) == ("unreachable", False, 0)
        async with UpstreamClient([one.base(private=True, host=host)], PATIENT) as made:
            assert (await sent(made, one.request(host=host))).status == 200


async def test_a_client_serves_only_while_it_is_open() -> None:
    async with api(answers()) as one:
        made = UpstreamClient([one.base()], PATIENT)
        assert (await fault(made, one.request())).kind == "unreachable"
        for _ in range(2):
            async with made:
                assert (await sent(made, one.request())).status == 200
        assert (await fault(made, one.request())).kind == "unreachable"


async def test_a_retired_client_serves_who_still_holds_it_and_keeps_nothing() -> None:
    held = asyncio.Event()

    async def later(exchange: Exchange) -> None:
        await held.wait()
        await exchange.say(OK)

    async with api(later) as one, calling(one) as made:
        call = asyncio.create_task(sent(made, one.request()))
        await asyncio.wait_for(one.arrived.wait(), 60)
        await made.retire()
        held.set()
        assert (await call).status == 200  # what was on its way comes back
        await asyncio.wait_for(one.closed.wait(), 60)
        one.closed.clear()
        assert (await sent(made, one.request())).status == 200
        await asyncio.wait_for(one.closed.wait(), 60)
    assert one.connections == 2
    assert (await fault(made, one.request())).kind == "unreachable"


async def test_a_proxy_is_used_and_one_of_the_environment_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    async with api(answers()) as one, calling(one) as made:
        assert (await sent(made, one.request())).status == 200
    async with api(answers(body=b"[]")) as proxy:
        bases = [base_of("http://api.example.test"), base_of("http://bücher.example.test")]  # the second as punycode
        async with UpstreamClient(bases, PATIENT, Route(proxy=f"http://127.0.0.1:{proxy.port}")) as made:
            found = [await sent(made, WireRequest(method="GET", url=f"{base.origin}/x")) for base in bases]
    assert [answer.body for answer in found] == [b"[]", b"[]"]
    for seen, host in zip(proxy.seen, ("api", "xn--bcher-kva"), strict=True):
        assert seen.head.startswith(f"GET http://{host}.example.test/x HTTP/1.1".encode())
    async with api(answers()) as near:
        route = Route(proxy=f"http://127.0.0.1:{proxy.port}")
        async with UpstreamClient(
            [near.base()], PATIENT, route
        ) as made:  # loopback is next door, and the proxy is gone
            assert (await sent(made, near.request())).status == 200


# TLS.


async def test_a_certificate_is_checked_and_an_own_authority_believed(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    async with api(answers(), tls=context) as one:
        base = one.base(host="localhost")
        for route, host in ((Route(), "localhost"), (Route(ca_file=str(certificate)), "127.0.0.1")):
            async with UpstreamClient([base, one.base()], PATIENT, route) as made:
                found = await fault(made, one.request(host=host))
                assert (found.kind, found.sent) == ("tls", False)
        async with UpstreamClient([base], PATIENT, Route(ca_file=str(certificate))) as made:
            assert (await sent(made, one.request(host="localhost"))).status == 200


def test_clients_share_their_authorities_until_the_file_changes(tmp_path: Path) -> None:
    certificate, _ = self_signed(tmp_path)
    first = trusting(str(certificate))
    assert trusting(str(certificate)) is first
    assert trusting("") is trusting("") is not first
    os.utime(certificate, ns=(1, 1))
    assert trusting(str(certificate)) is not first
    with pytest.raises(OSError, match="No such file"):
        trusting(str(tmp_path / "none.pem"))


async def test_plain_text_where_tls_is_expected() -> None:
    async with api(says(OK)) as one:
        base = base_of(f"https://127.0.0.1:{one.port}", private=True)
        async with UpstreamClient([base], QUICK) as made:
            found = await fault(made, WireRequest(method="GET", url=base.origin + "/"))
    assert found.sent is False
