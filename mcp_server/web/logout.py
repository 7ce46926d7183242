"""The back-channel logout endpoint: the issuer posts a logout token in a form (Back-Channel Logout 1.0 §2.5).

Beside it are the two addresses that Keycloak knows below a client's admin URL, whose whole body is the token.

It needs no credential of the caller's, for the token is one: so it takes little, answers little, and whoever sends what
is not right is held to a rate. What is right is never counted: an issuer that ends a thousand logins does so at once,
and they wait for their turn. A body that is still coming takes nobody's turn.
"""

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import parse_qsl

from litestar import Request, Response, post
from litestar.handlers import HTTPRouteHandler

from mcp_server.auth.logout import AWAY, NOT_HEARD, AcceptedLogout, BackchannelLogout, LogoutRefused, Turn
from mcp_server.auth.refusals import DenialReason
from mcp_server.auth.tokens import logout
from mcp_server.limits import callers
from mcp_server.limits.fair_queue import FairQueue, QueueFull, QueueLimits
from mcp_server.limits.rate import RateLimiter
from mcp_server.observe.audit import AuditLog, Decision
from mcp_server.observe.log import logger
from mcp_server.web.incoming.arrivals import Evicted, EvictingLimiter
from mcp_server.web.incoming.client_address import TrustedProxies

PATH: Final = "/backchannel-logout"
"""Below the endpoint's own, so that a proxy that lets that through lets this through."""
METHOD: Final = "backchannel-logout"
"""What the audit calls it."""
MAX_BODY: Final = logout.MAX_TOKEN + 1024
BODY_S: Final = 2.0
"""An issuer sends its few KiB with the head."""
MAX_ARRIVING: Final = 2048
TURN_S: Final = 60.0
"""Longer than an issuer waits for its answer: what it has sent ends the login although it has hung up."""
JUDGED: Final = QueueLimits(at_once=64, of_address=16, of_network=32, waiting=4096, waiting_of_network=2048)
"""Tokens being judged, for an issuer may be asked for keys meanwhile, and those that wait: at most 37 MiB of bodies."""
WRONG_PER_S: Final = 2.0
AWAY_PER_S: Final = 20.0
"""Those of one address whose issuer cannot be asked for the key: an issuer sends some, and anybody makes them up."""
FORM: Final = "application/x-www-form-urlencoded"
LOGGED_OUT: Final = "logged_out"
Take = Callable[[bytes, Turn], Awaitable[AcceptedLogout]]
NO_STORE: Final = {"cache-control": "no-store"}


class Refused(Exception):
    """Why nothing is done: a status, the error for the issuer, the reason for log and audit."""

    def __init__(self, status: int, reason: str, detail: str = "", error: str = "invalid_request") -> None:
        super().__init__(reason)
        self.status, self.reason, self.detail, self.error = status, reason, detail, error


def _too_many() -> Refused:
    return Refused(429, "too_many_at_once", error="temporarily_unavailable")


class LogoutEndpoint:
    """Reads what an issuer sends and says 200 or 204, or 400."""

    def __init__(self, taking: BackchannelLogout, audit: AuditLog, proxies: TrustedProxies) -> None:
        self._taking, self._audit, self._proxies = taking, audit, proxies
        self._wrong, self._away = RateLimiter(WRONG_PER_S), RateLimiter(AWAY_PER_S)
        self._arrivals, self._turns = EvictingLimiter(MAX_ARRIVING), FairQueue(JUDGED)

    async def logout(self, request: Request[Any, Any, Any]) -> Response[Any]:
        """One logout token in a form."""
        media_type = request.headers.get("content-type", "")

        async def take(body: bytes, turn: Turn) -> AcceptedLogout:
            return await self._taking.take(_token(media_type, body), turn)

        return await self._answer(request, take, 200)

    async def push(self, request: Request[Any, Any, Any], action: str) -> Response[Any]:
        """One action of Keycloak's."""

        async def take(body: bytes, turn: Turn) -> AcceptedLogout:
            return await self._taking.pushed(body.strip(), action, turn)

        return await self._answer(request, take, 204)

    async def _answer(self, request: Request[Any, Any, Any], take: Take, good: int) -> Response[Any]:
        address = self._proxies.address(request.scope)
        who = callers.key(None, address)
        try:
            found = await self._take(request, take, who)
        except Refused as refused:
            self._count(who, refused)
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

    async def _take(self, request: Request[Any, Any, Any], take: Take, who: str) -> AcceptedLogout:
        self._check_rate(who)
        try:
            async with self._arrivals.awaited(who, BODY_S):
                body = await _body(request.receive)
        except TimeoutError:
            raise Refused(400, "body_too_slow") from None
        except Evicted:
            raise _too_many() from None
        try:
            return await take(body, self._turn(who))
        except (QueueFull, TimeoutError):
            raise _too_many() from None
        except LogoutRefused as refused:
            raise Refused(400, refused.reason, refused.detail) from refused

    @asynccontextmanager
    async def _turn(self, who: str) -> AsyncIterator[None]:
        async with self._turns.place(who, TURN_S):
            self._check_rate(who)  # what came before it, all at once, may have been wrong
            yield

    def _check_rate(self, who: str) -> None:
        if self._wrong.behind(who) or self._away.behind(who):
            raise Refused(429, "too_fast", error="temporarily_unavailable")

    def _count(self, who: str, refused: Refused) -> None:
        """What was wrong is counted; that the store is away, which only a right one finds out, is not its fault."""
        if refused.status != 400 or refused.reason == AWAY:
            return
        (self._away if refused.reason == DenialReason.ISSUER_AWAY.slug else self._wrong).wait(who)

    def _write(self, address: str, decision: str, reason: str, found: AcceptedLogout | None = None) -> None:
        """A line of the audit: whose login is over, and which client was told."""
        line = Decision(time=time.time(), decision=decision, reason=reason, request_id=os.urandom(8).hex())
        line.address, line.method = address, METHOD
        if found is not None:
            line.issuer, line.subject, line.client = found.issuer, found.subject, found.client
        self._audit.write(line)


async def _body(receive: Callable[[], Awaitable[Any]]) -> bytes:
    """The whole body; raises `Refused` before more of one is kept than a logout token takes.

    Read here: Litestar makes an error of ours of a client that hangs up, with a traceback in the log each time.
    """
    read = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise Refused(400, "aborted")
        part: bytes = message.get("body", b"")
        read += part
        if len(read) > MAX_BODY:
            raise Refused(400, "body_too_large")
        if not message.get("more_body"):
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
