"""The only socket of `auth/`: bounded GETs and one POST to the issuer, by httpx."""

import asyncio
from typing import Any, Final

import httpx
import msgspec

MAX_DOCUMENT: Final = 256 * 1024
"""Bytes of a metadata document or key set; Keycloak's are under 20 KiB."""
TOTAL_S: Final = 5.0
"""From connect to the last byte: an endless answer ends here, too."""


class IssuerUnavailable(Exception):
    """The issuer did not answer with a usable document; the text is for the log, `problem` for a probe."""

    def __init__(self, text: str, problem: str = "unreachable") -> None:
        super().__init__(text)
        self.problem = problem


class Fetcher:
    """One client for one process; redirects are not followed, proxies of the environment not used."""

    def __init__(self, total_s: float = TOTAL_S) -> None:
        self._total_s = total_s
        self._client = httpx.AsyncClient(
            follow_redirects=False,
            trust_env=False,
            headers={"accept-encoding": "identity"},  # a bound on bytes is none where few of them unpack to many
            timeout=total_s,
            limits=httpx.Limits(max_connections=20, max_keepalive_connections=4),
        )

    async def get_json(self, url: str) -> Any:
        """The JSON at a URL; raises `IssuerUnavailable`."""
        return await self._json(self._client.build_request("GET", url))

    async def post_form(self, url: str, form: dict[str, str], authorization: str) -> Any:
        """The JSON answer to a form; raises `IssuerUnavailable`."""
        headers = {"authorization": authorization}
        return await self._json(self._client.build_request("POST", url, data=form, headers=headers))

    async def close(self) -> None:
        """Let the connections go."""
        await self._client.aclose()

    async def _json(self, request: httpx.Request) -> Any:
        try:
            async with asyncio.timeout(self._total_s):
                return msgspec.json.decode(await self._body(request))
        except TimeoutError as error:
            raise IssuerUnavailable(f"{request.url}: no whole answer in time") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise IssuerUnavailable(f"{request.url}: {type(error).__name__}") from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise IssuerUnavailable(f"{request.url}: not JSON", "unusable documents") from error

    async def _body(self, request: httpx.Request) -> bytes:
        response = await self._client.send(request, stream=True)
        try:
            if response.status_code != 200:
                raise IssuerUnavailable(f"{request.url}: status {response.status_code}")
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
