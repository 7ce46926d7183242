"""Litestar guards: scopes on any HTTP route, refused with the same challenges as a tool."""

from typing import Any, Final, cast

from litestar.connection import ASGIConnection
from litestar.enums import ScopeType
from litestar.exceptions import ImproperlyConfiguredException, WebSocketException
from litestar.handlers import BaseRouteHandler
from litestar.types import Guard

from mcp_server.auth.refusals import AccessDenied, AccessDeniedError, DenialReason
from mcp_server.auth.tokens import claims
from mcp_server.auth.tokens.bearer import NoCredentials
from mcp_server.identity import Principal, missing
from mcp_server.observe import metrics
from mcp_server.registry.scope_pattern import scope_set
from mcp_server.web.authn import Caller, Outcome, RouteAuthentication
from mcp_server.web.trail import SCOPE_KEY

STATE_KEY: Final = "mcp_server_authentication"
"""Where the plugin leaves its `RouteAuthentication` for guards, in the application's state."""

WEBSOCKET_CODES: Final = 4000
"""Litestar closes a websocket by 4000 and the HTTP status; one that was not accepted is a 403 to its client."""


def requires_scopes(*scopes: str) -> Guard:
    """A guard that lets in who holds all these scopes; others get 401 or 403 with the challenge (RFC 6750 §3).

    A websocket is closed by 4401 or 4403 before it is accepted.

    It identifies the caller itself: `request.user` is then the `Principal`, unless the application has set another;
    `principal_of(request)` is it in any case.
    """
    if not scopes:
        raise ValueError("requires_scopes needs at least one scope")
    needed = scope_set(scopes) or frozenset()

    async def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        authentication: RouteAuthentication | None = connection.app.state.get(STATE_KEY)
        if authentication is None:
            raise ImproperlyConfiguredException("requires_scopes needs McpPlugin among the application's plugins")
        caller = await authentication.caller(connection.scope)
        refusal = _refusal(caller.outcome, needed)
        route = cast("dict[str, Any]", connection.scope).get("path_template", "")
        caller.trail.guard(route, needed, "" if refusal is None else refusal.reason.slug)
        if refusal is None:
            return
        caller.trail.refused(authentication.traces, route, refusal)
        if connection.scope["type"] == ScopeType.WEBSOCKET:  # no handler of exceptions is asked there: it would be 4500
            metrics.refused(refusal.reason.slug)
            raise WebSocketException(detail=refusal.reason.public, code=WEBSOCKET_CODES + refusal.reason.status)
        raise AccessDeniedError(refusal)

    return guard


def principal_of(connection: ASGIConnection[Any, Any, Any, Any]) -> Principal | None:
    """The caller whom a guard of ours has let in, whatever `user` the application has set; None on other routes."""
    caller: Caller | None = cast("dict[str, Any]", connection.scope).get(SCOPE_KEY)
    return None if caller is None else caller.trail.principal


def _refusal(outcome: Outcome, needed: frozenset[str]) -> AccessDenied | None:
    if isinstance(outcome, AccessDenied):
        return outcome
    if isinstance(outcome, NoCredentials):
        return AccessDenied(reason=DenialReason.NO_CREDENTIALS)
    if missing(needed, outcome):
        granted = claims.granted(outcome)  # no revision is stated here, so what the client has is named again
        return AccessDenied(reason=DenialReason.INSUFFICIENT_SCOPE, scopes=needed, granted=granted)
    return None
