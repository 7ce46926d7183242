"""Litestar guards: scopes on any HTTP route, refused with the same challenges as a tool."""

from collections.abc import Mapping
from typing import Any, cast

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.types import Guard

from mcp_server.auth.refusals import Reason, Refusal, Refused
from mcp_server.auth.tokens import claims
from mcp_server.auth.tokens.bearer import Absent
from mcp_server.identity import Principal, missing
from mcp_server.web.trail import SCOPE_KEY, Trail


def requires_scopes(*scopes: str) -> Guard:
    """A guard that lets in who holds all these scopes; others get 401 or 403 with the challenge (RFC 6750 §3)."""
    needed = frozenset(scopes)
    if not needed:
        raise ValueError("requires_scopes needs at least one scope")

    def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        scope = cast("Mapping[str, Any]", connection.scope)
        refusal = _refusal(scope, needed)
        trail: Trail | None = scope.get(SCOPE_KEY)
        if trail is not None:
            trail.guard(scope.get("path_template", ""), needed, "" if refusal is None else refusal.reason.slug)
        if refusal is not None:
            raise Refused(refusal)

    return guard


def _refusal(scope: Mapping[str, Any], needed: frozenset[str]) -> Refusal | None:
    outcome = scope.get("auth")
    if isinstance(outcome, Refusal):
        return outcome
    if outcome is None or isinstance(outcome, Absent):
        return Refusal(Reason.NO_CREDENTIALS)
    user = scope.get("user")
    if missing(needed, user):
        granted = claims.granted(user) if isinstance(user, Principal) else frozenset()  # no revision is stated here
        return Refusal(Reason.INSUFFICIENT_SCOPE, scopes=needed, granted=granted)
    return None
