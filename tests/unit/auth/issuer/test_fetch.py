"""The only socket of `auth`: what comes back is bounded, and whatever is wrong with it is an issuer that is away."""

import asyncio
import ssl
from pathlib import Path

import httpx
import pytest

from mcp_server.auth.issuer.fetch import MAX_DOCUMENT, Fetcher, IssuerUnavailable
from mcp_server.route import Route
from tests.kit.certificates import self_signed
from tests.kit.upstreams import OK, Exchange, api

URL = "https://kc.example/x"


async def fetched(answer: httpx.Response | Exception, url: str = URL) -> object:
    def handle(_: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    async with Fetcher(transport=httpx.MockTransport(handle)) as fetcher:
        return await fetcher.get_json(url)


def answered(body: bytes, status: int = 200, header: tuple[str, str] = ("x", "y")) -> httpx.Response:
    return httpx.Response(status, headers=[header], stream=httpx.ByteStream(body))


async def test_a_document_is_read() -> None:
    assert await fetched(answered(b'{"a":1}')) == {"a": 1}


@pytest.mark.parametrize(
    ("answer", "why", "problem"),
    [
        (answered(b"{}", 500), "status 500", "unreachable"),
        (answered(b"{}", 302, ("location", "https://evil.example")), "status 302", "unreachable"),
        (answered(b"{}", 200, ("content-encoding", "gzip")), "encoded", "unusable documents"),
        (answered(b"x" * (MAX_DOCUMENT + 1)), "over", "unreachable"),
        (answered(b"x"), "not JSON", "unusable documents"),
        (answered(b'"\xff"'), "not JSON", "unusable documents"),
        (httpx.ConnectError("refused"), "ConnectError", "unreachable"),
        (UnicodeError("label too long"), "UnicodeError", "unreachable"),
    ],
)
async def test_what_cannot_be_used_is_told_with_its_address(answer: httpx.Response, why: str, problem: str) -> None:
    with pytest.raises(IssuerUnavailable, match=why) as failed:
        await fetched(answer)
    assert (URL in str(failed.value), failed.value.problem) == (True, problem)


@pytest.mark.parametrize("url", ["https://[x", "https://kc:abc/", "https://kc\x00/", "no address", "ftp://kc/x"])
async def test_an_address_that_cannot_be_used_is_no_other_error(url: str) -> None:
    async with Fetcher() as fetcher:
        with pytest.raises(IssuerUnavailable):
            await fetcher.get_json(url)
        with pytest.raises(IssuerUnavailable):
            await fetcher.post_form(url, {"token": "t"}, "Basic x")


async def test_an_answer_that_never_comes_is_cut_off() -> None:
    async def never(_: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async with Fetcher(total_s=0.01, transport=httpx.MockTransport(never)) as fetcher:
        with pytest.raises(IssuerUnavailable, match="no whole answer"):
            await fetcher.get_json(URL)


async def good(exchange: Exchange) -> None:
    await exchange.say(OK)


async def test_an_issuer_behind_an_own_authority_is_believed(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    async with api(good, tls=context) as issuer:
        url = f"https://localhost:{issuer.port}/x"
        async with Fetcher() as fetcher:
            with pytest.raises(IssuerUnavailable, match=r"ConnectError: its certificate is not trusted .*MCP_CA_FILE"):
                await fetcher.get_json(url)
        async with Fetcher(route=Route(ca_file=str(certificate))) as fetcher:
            assert await fetcher.get_json(url) == {}


async def test_why_there_is_no_connection_is_told_in_our_words() -> None:
    async def speak_no_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(speak_no_tls, "127.0.0.1", 0) as plain:
        port = plain.sockets[0].getsockname()[1]
        places = {
            f"https://127.0.0.1:{port}/x": "no TLS with it .*; is it http",
            "http://localhost:1/x": "nothing listens there",
            "http://kc.invalid/x": "its name is not known here",
        }
        async with Fetcher() as fetcher:
            for url, told in places.items():
                with pytest.raises(IssuerUnavailable, match=f"'{url}': ConnectError: {told}"):
                    await fetcher.get_json(url)


async def test_an_issuer_is_asked_through_the_proxy_but_for_what_is_direct() -> None:
    async with api(good) as proxy, api(good) as near:
        route = Route(proxy=f"http://u:pw@127.0.0.1:{proxy.port}", direct=("near.test",))
        async with Fetcher(route=route) as fetcher:
            assert await fetcher.get_json("http://kc.example.test/x") == {}
            assert await fetcher.get_json(f"http://127.0.0.1:{near.port}/x") == {}
            with pytest.raises(IssuerUnavailable):
                await fetcher.get_json("http://near.test:9/x")
    assert [one.head.partition(b" HTTP")[0] for one in proxy.seen] == [b"GET http://kc.example.test/x"]
    assert b"proxy-authorization: basic dtpwdw==" in proxy.seen[0].head.lower()
    assert [b"authorization" in one.head.lower() for one in near.seen] == [False]
