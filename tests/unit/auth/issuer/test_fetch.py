"""The only socket of `auth`: what comes back is bounded, and whatever is wrong with it is an issuer that is away."""

import asyncio

import httpx
import pytest

from mcp_server.auth.issuer.fetch import MAX_DOCUMENT, Fetcher, IssuerUnavailable

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
