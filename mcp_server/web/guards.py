"""Litestar guards: scopes on any HTTP route, refused with the same challenges as a tool."""

from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.types import Guard

from mcp_server.auth import claims
from mcp_server.auth.bearer import Absent
from mcp_server.auth.refusals import Reason, Refusal, Refused
from mcp_server.identity import Principal, missing


def requires_scopes(*scopes: str) -> Guard:
    """A guard that lets in who holds all these scopes; others get 401 or 403 with the challenge (RFC 6750 §3)."""
    needed = frozenset(scopes)
    if not needed:
        raise ValueError("requires_scopes needs at least one scope")

    def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        outcome = connection.scope.get("auth")
        if isinstance(outcome, Refusal):
            raise Refused(outcome)
        if outcome is None or isinstance(outcome, Absent):
            raise Refused(Refusal(Reason.NO_CREDENTIALS))
        user = connection.scope.get("user")
        if missing(needed, user):
            granted = claims.granted(user) if isinstance(user, Principal) else frozenset()  # no revision is stated here
            raise Refused(Refusal(Reason.INSUFFICIENT_SCOPE, scopes=needed, granted=granted))

    return guard
