"""The only socket of `auth/`: bounded GETs and one POST to the issuer, by httpx."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any, Final, Self

import httpx
import msgspec

from mcp_server.observe.telemetry import names
from mcp_server.observe.tracing import Step, address_of
from mcp_server.route import Route
from mcp_server.unreachable import why

MAX_DOCUMENT: Final = 256 * 1024
"""Bytes of a metadata document or key set; Keycloak's are under 20 KiB."""
TOTAL_S: Final = 5.0
"""From connect to the last byte: an endless answer ends here, too."""


class IssuerUnavailable(Exception):
    """The issuer did not answer with a usable document; the text is for the log, `problem` for a probe."""

    def __init__(self, text: str, problem: str = "unreachable", status: int = 0) -> None:
        super().__init__(text)
        self.problem, self.status = problem, status


class Fetcher:
    """HTTP client of one process, open inside `async with` and again after it.

    Redirects are not followed, proxies of the environment not used but where `route` names one. `transport` stands in
    for the network.
    """

    def __init__(
        self,
        total_s: float = TOTAL_S,
        transport: httpx.AsyncBaseTransport | None = None,
        route: Route | None = None,
    ) -> None:
        self._total_s, self._transport, self._route = total_s, transport, route or Route()
        self._clients: dict[str, httpx.AsyncClient] = {}
        """By the proxy that they go through; empty while nothing is open."""
        self._opened = AsyncExitStack()

    async def __aenter__(self) -> Self:
        # A client belongs to the loop that it was opened in, and a closed one serves no more: each start has its own.
        for proxy in {"", self._route.proxy}:
            self._clients[proxy] = await self._opened.enter_async_context(self._client(proxy))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._clients.clear()
        await self._opened.aclose()

    def _client(self, proxy: str) -> httpx.AsyncClient:
        trusted = httpx.create_ssl_context(trust_env=False)
        trusted.load_default_certs()  # of the system, too: where a company puts its own
        if self._route.ca_file:
            trusted.load_verify_locations(self._route.ca_file)
        return httpx.AsyncClient(
            transport=self._transport,
            verify=trusted,
            proxy=proxy or None,
            follow_redirects=False,
            trust_env=False,
            headers={"accept-encoding": "identity"},  # a bound on bytes is none where few of them unpack to many
            timeout=self._total_s,
            limits=httpx.Limits(max_connections=20, max_keepalive_connections=4),
        )

    async def get_json(self, url: str) -> Any:
        """The JSON at a URL; raises `IssuerUnavailable`."""
        return await self._json("GET", url)

    async def post_form(self, url: str, form: dict[str, str], authorization: str) -> Any:
        """The JSON answer to a form; raises `IssuerUnavailable`."""
        return await self._json("POST", url, data=form, headers={"authorization": authorization})

    async def _json(self, method: str, url: str, **content: Any) -> Any:
        if not self._clients:
            raise IssuerUnavailable("nothing is fetched before the application's lifespan begins, or after it ends")
        with Step("auth.fetch", "client", lambda: {names.HTTP_METHOD: method, **address_of(url)}):
            return await self._answered(method, url, content)

    async def _answered(self, method: str, url: str, content: Mapping[str, Any]) -> Any:
        try:
            async with asyncio.timeout(self._total_s):
                # Built in here: the URL may be a document's, and of a bad one httpx raises InvalidURL or a ValueError.
                client = self._clients[self._route.through(httpx.URL(url).host)]
                request = client.build_request(method, url, **content)
                return msgspec.json.decode(await self._body(client, request))
        except TimeoutError as error:
            raise IssuerUnavailable(f"{url}: no whole answer in time") from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise IssuerUnavailable(f"{url}: not JSON", "unusable documents") from error
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise IssuerUnavailable(f"{url!r}: {why(error)}") from error

    async def _body(self, client: httpx.AsyncClient, request: httpx.Request) -> bytes:
        response = await client.send(request, stream=True)
        try:
            if response.status_code != 200:
                raise IssuerUnavailable(f"{request.url}: status {response.status_code}", status=response.status_code)
            if response.headers.get("content-encoding", "identity").lower() != "identity":
                raise IssuerUnavailable(f"{request.url}: encoded, though nobody asked", "unusable documents")
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > MAX_DOCUMENT:
                    raise IssuerUnavailable(f"{request.url}: over {MAX_DOCUMENT} bytes")
            return bytes(body)
        finally:
            await response.aclose()
