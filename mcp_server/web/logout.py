"""The back-channel logout endpoint: the issuer posts a logout token in a form (Back-Channel Logout 1.0 §2.5).

Beside it are the two addresses that Keycloak knows below a client's admin URL, whose whole body is the token.

It needs no credential of the caller's, for the token is one: so it takes little, answers little, and whoever sends what
is not right is held to a rate. What is right is never counted: an issuer that ends a thousand logins does so at once.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final
from urllib.parse import parse_qsl

from litestar import Request, Response, post
from litestar.handlers import HTTPRouteHandler

from mcp_server.auth.logout import AWAY, NOT_HEARD, BackchannelLogout, Ended, LogoutRefused
from mcp_server.auth.refusals import DenialReason
from mcp_server.auth.tokens import logout
from mcp_server.limits import callers
from mcp_server.limits.concurrency import ConcurrencyLimiter
from mcp_server.limits.rate import RateLimiter
from mcp_server.observe.audit import AuditLog, Decision
from mcp_server.observe.log import logger
from mcp_server.web.incoming.client_address import TrustedProxies

PATH: Final = "/backchannel-logout"
"""Below the endpoint's own, so that a proxy that lets that through lets this through."""
METHOD: Final = "backchannel-logout"
"""What the audit calls it."""
MAX_BODY: Final = logout.MAX_TOKEN + 1024
BODY_S: Final = 10.0
WRONG_PER_S: Final = 2.0
AT_ONCE: Final = 64
"""Requests being read or judged, a quarter of them of one address: an issuer is asked for unknown keys meanwhile."""
FORM: Final = "application/x-www-form-urlencoded"
_NOT_THEIRS: Final = frozenset({AWAY, DenialReason.ISSUER_AWAY.slug})
LOGGED_OUT: Final = "logged_out"
Take = Callable[[bytes], Awaitable[Ended]]
NO_STORE: Final = {"cache-control": "no-store"}


class Refused(Exception):
    """Why nothing is done: a status, the error for the issuer, the reason for log and audit."""

    def __init__(self, status: int, reason: str, detail: str = "", error: str = "invalid_request") -> None:
        super().__init__(reason)
        self.status, self.reason, self.detail, self.error = status, reason, detail, error


class LogoutEndpoint:
    """Reads what an issuer sends and says 200 or 204, or 400."""

    def __init__(self, taking: BackchannelLogout, audit: AuditLog, proxies: TrustedProxies) -> None:
        self._taking, self._audit, self._proxies = taking, audit, proxies
        self._wrong = RateLimiter(WRONG_PER_S)
        self._reading = ConcurrencyLimiter(AT_ONCE, AT_ONCE)

    async def logout(self, request: Request[Any, Any, Any]) -> Response[Any]:
        """One logout token in a form."""
        media_type = request.headers.get("content-type", "")

        async def take(body: bytes) -> Ended:
            return await self._taking.take(_token(media_type, body))

        return await self._answer(request, take, 200)

    async def push(self, request: Request[Any, Any, Any], action: str) -> Response[Any]:
        """One action of Keycloak's."""

        async def take(body: bytes) -> Ended:
            return await self._taking.pushed(body.strip(), action)

        return await self._answer(request, take, 204)

    async def _answer(self, request: Request[Any, Any, Any], take: Take, good: int) -> Response[Any]:
        address = self._proxies.address(request.scope)
        who = callers.key(None, address)
        try:
            found = await self._take(request, take, who)
        except Refused as refused:
            if refused.status == 400 and refused.reason not in _NOT_THEIRS:
                self._wrong.wait(who)
            self._write(address, "deny", refused.reason)
            self._log(refused, address)
            retry = {"retry-after": "2"} if refused.status == 429 else {}
            return Response({"error": refused.error}, status_code=refused.status, headers={**NO_STORE, **retry})
        self._write(address, "allow", LOGGED_OUT, found)
        return Response(b"", status_code=good, headers=NO_STORE)

    def _log(self, refused: Refused, address: str) -> None:
        if refused.reason == NOT_HEARD:  # the issuer has signed it, so that it is no stranger's noise
            text = "a logout is refused: MCP_LOGOUT_CLIENTS does not name its client"
            logger.warning(text, detail=refused.detail, address=address)
        else:
            logger.info("a logout is refused", reason=refused.reason, detail=refused.detail, address=address)

    async def _take(self, request: Request[Any, Any, Any], take: Take, who: str) -> Ended:
        if self._wrong.behind(who):
            raise Refused(429, "too_fast", error="temporarily_unavailable")
        if not self._reading.acquire(who):
            raise Refused(429, "too_many_at_once", error="temporarily_unavailable")
        try:
            async with asyncio.timeout(BODY_S):
                body = await _body(request.stream())
            return await take(body)
        except TimeoutError:
            raise Refused(400, "body_too_slow") from None
        except LogoutRefused as refused:
            raise Refused(400, refused.reason, refused.detail) from refused
        finally:
            self._reading.release(who)

    def _write(self, address: str, decision: str, reason: str, found: Ended | None = None) -> None:
        """A line of the audit: whose login is over, and which client was told."""
        line = Decision(time=time.time(), decision=decision, reason=reason, request_id=os.urandom(8).hex())
        line.address, line.method = address, METHOD
        if found is not None:
            line.issuer, line.subject, line.client = found.issuer, found.subject, found.client
        self._audit.write(line)


async def _body(stream: AsyncIterator[bytes]) -> bytes:
    """The whole body; raises `Refused` before more of one is kept than a logout token takes."""
    read = b""
    async for chunk in stream:
        read += chunk
        if len(read) > MAX_BODY:
            raise Refused(400, "body_too_large")
    return read


def _token(media_type: str, body: bytes) -> bytes:
    """The one `logout_token` of the form; raises `Refused`."""
    if media_type.partition(";")[0].strip().lower() != FORM:
        raise Refused(400, "not_a_form")
    try:
        fields = parse_qsl(body.decode("ascii"), keep_blank_values=True, strict_parsing=True, max_num_fields=8)
    except ValueError:
        raise Refused(400, "not_a_form") from None
    tokens = [value for name, value in fields if name == "logout_token"]
    if len(tokens) != 1:
        raise Refused(400, "not_one_logout_token")
    return tokens[0].encode("ascii", "replace")


def routes(endpoint: LogoutEndpoint, path: str) -> list[HTTPRouteHandler]:
    """The handlers below the endpoint's path."""
    base = path.rstrip("/")

    @post(base + PATH, status_code=200, request_max_body_size=None)
    async def backchannel_logout(request: Request[Any, Any, Any]) -> Response[Any]:
        return await endpoint.logout(request)

    @post(base + "/k_push_not_before", status_code=200, request_max_body_size=None)
    async def push_not_before(request: Request[Any, Any, Any]) -> Response[Any]:
        return await endpoint.push(request, "PUSH_NOT_BEFORE")

    @post(base + "/k_logout", status_code=200, request_max_body_size=None)
    async def logout_all(request: Request[Any, Any, Any]) -> Response[Any]:
        return await endpoint.push(request, "LOGOUT")

    return [backchannel_logout, push_not_before, logout_all]
