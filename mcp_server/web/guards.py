"""Litestar guards: scopes on any HTTP route, refused with the same challenges as a tool."""

from collections.abc import Mapping
from typing import Any, cast

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.types import Guard

from mcp_server.auth.refusals import AccessDenied, AccessDeniedError, DenialReason
from mcp_server.auth.tokens import claims
from mcp_server.auth.tokens.bearer import NoCredentials
from mcp_server.identity import Principal, missing
from mcp_server.registry.function import scope_set
from mcp_server.web.trail import SCOPE_KEY, Trail


def requires_scopes(*scopes: str) -> Guard:
    """A guard that lets in who holds all these scopes; others get 401 or 403 with the challenge (RFC 6750 §3)."""
    if not scopes:
        raise ValueError("requires_scopes needs at least one scope")
    needed = scope_set(scopes) or frozenset()

    def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        scope = cast("Mapping[str, Any]", connection.scope)
        refusal = _refusal(scope, needed)
        trail: Trail | None = scope.get(SCOPE_KEY)
        if trail is not None:
            trail.guard(scope.get("path_template", ""), needed, "" if refusal is None else refusal.reason.slug)
        if refusal is not None:
            raise AccessDeniedError(refusal)

    return guard


def _refusal(scope: Mapping[str, Any], needed: frozenset[str]) -> AccessDenied | None:
    outcome = scope.get("auth")
    if isinstance(outcome, AccessDenied):
        return outcome
    if outcome is None or isinstance(outcome, NoCredentials):
        return AccessDenied(DenialReason.NO_CREDENTIALS)
    user = scope.get("user")
    if missing(needed, user):
        granted = claims.granted(user) if isinstance(user, Principal) else frozenset()  # no revision is stated here
        return AccessDenied(DenialReason.INSUFFICIENT_SCOPE, scopes=needed, granted=granted)
    return None
