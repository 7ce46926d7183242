"""A client of one URL on aiohttp, which repeats no POST by itself: what is lost is seen."""

import asyncio
import contextlib
import itertools
import secrets
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import aiohttp
import msgspec

from mcp_server.protocol.types.tasks import EXTENSION
from tests.kit import wire

TASKS: Final[dict[str, Any]] = {"extensions": {EXTENSION: {}}}
ACCEPT: Final = "application/json, text/event-stream"
LEGACY: Final = "2025-11-25"
PATIENCE_S: Final = 60.0
IDLE_S: Final = 1.5
"""A kept connection that idles so long is let go: sooner than the server's lame duck is over, or a request may meet the
end of the connection that it is sent on (docs/operate.md)."""
_ids = itertools.count(1)


class Answer(msgspec.Struct, kw_only=True):
    """What came back; `fault` is of the transport, and then there is nothing else."""

    status: int = 0
    message: dict[str, Any] = {}
    retry_after: str = ""
    session: str = ""
    fault: str = ""

    @property
    def result(self) -> dict[str, Any]:
        """The result, empty where there is none."""
        found = self.message.get("result", {})
        return found if isinstance(found, dict) else {}

    @property
    def text(self) -> str:
        """The first text of a tool's result."""
        parts = self.result.get("content") or [{}]
        return "" if self.result.get("isError") else str(parts[0].get("text", ""))

    @property
    def not_now(self) -> bool:
        """A plain refusal for the moment: nothing has run, and it says when to come back."""
        return self.status in (429, 503) and bool(self.retry_after)

    def told(self) -> str:
        """What was wrong, without what differs from call to call."""
        error = self.message.get("error", {})
        said = error.get("message", "") if isinstance(error, dict) else str(error)
        return self.fault or f"{self.status} {said or self.text[:40]}".strip()


class Client:
    """Calls of both eras, over connections that are kept or new ones; `session` of aiohttp's are the caller's."""

    def __init__(self, url: str, kept: aiohttp.ClientSession, fresh: aiohttp.ClientSession) -> None:
        self.url, self.kept, self.fresh = url, kept, fresh

    async def modern(
        self,
        token: str,
        method: str,
        params: dict[str, Any],
        *,
        call: str = "",
        fresh: bool = False,
        tasks: bool = False,
    ) -> Answer:
        """A request of the modern era; `call` is the trace id that log and audit have, too."""
        message = wire.modern(method, params, next(_ids))
        if tasks:
            message["params"]["_meta"][wire.PREFIX + "clientCapabilities"] = TASKS
        name = params.get("taskId") or params.get("name")
        return await self._post(token, message, _named(wire.headers(method, name)) | trace(call), fresh=fresh)

    async def legacy(
        self, token: str, method: str, params: dict[str, Any], *, call: str = "", session: str = "", fresh: bool = False
    ) -> Answer:
        """A request of the legacy era, in a session or without one."""
        fields = {"mcp-protocol-version": LEGACY} | ({"mcp-session-id": session} if session else {})
        return await self._post(token, wire.legacy(method, params, next(_ids)), fields | trace(call), fresh=fresh)

    async def open_session(self, token: str) -> Answer:
        """A new legacy session; its id is in the answer."""
        return await self._post(token, wire.legacy("initialize", dict(wire.INITIALIZE), next(_ids)), {}, fresh=False)

    async def close_session(self, token: str, session: str) -> int:
        """DELETE it; the status, 0 where the connection was lost."""
        try:
            async with self.kept.delete(self.url, headers=_heads(token) | {"mcp-session-id": session}) as got:
                return got.status
        except (aiohttp.ClientError, OSError):
            return 0

    async def _post(self, token: str, message: dict[str, Any], fields: Mapping[str, str], *, fresh: bool) -> Answer:
        http = self.fresh if fresh else self.kept
        try:
            async with (
                asyncio.timeout(PATIENCE_S),
                http.post(self.url, data=msgspec.json.encode(message), headers={**_heads(token), **fields}) as got,
            ):
                answer = Answer(
                    status=got.status,
                    retry_after=got.headers.get("retry-after", ""),
                    session=got.headers.get("mcp-session-id", ""),
                )
                if got.content_type == "text/event-stream":
                    answer.message = await _response(got, message["id"])
                elif data := await got.read():
                    answer.message = msgspec.json.decode(data) if got.content_type == "application/json" else {}
                return answer
        except (aiohttp.ClientError, OSError, TimeoutError, msgspec.DecodeError) as error:
            return Answer(fault=type(error).__name__)


async def _response(got: aiohttp.ClientResponse, request_id: int) -> dict[str, Any]:
    """The answer among the events of a stream; a stream that ends without one is a fault."""
    async for line in got.content:
        if line.startswith(b"data: {"):
            message: dict[str, Any] = msgspec.json.decode(line[6:])
            if message.get("id") == request_id:
                return message
    raise aiohttp.ClientPayloadError("no answer in the stream")


@contextlib.asynccontextmanager
async def connected(url: str) -> AsyncIterator[Client]:
    """A client whose connections end with the block."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
    async with (
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_S), timeout=timeout
        ) as kept,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True), timeout=timeout) as fresh,
    ):
        yield Client(url, kept, fresh)


def new_call() -> str:
    """The id of a call: a trace id."""
    return secrets.token_hex(16)


def trace(call: str) -> dict[str, str]:
    """W3C's header, by which the audit names the call."""
    return {"traceparent": f"00-{call}-{secrets.token_hex(8)}-01"} if call else {}


def _named(fields: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in fields.items()}


def listening(token: str) -> dict[str, str]:
    """The header fields of a request whose answer is a stream, modern."""
    return _heads(token) | _named(wire.headers("subscriptions/listen"))


def _heads(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}", "content-type": "application/json", "accept": ACCEPT}
