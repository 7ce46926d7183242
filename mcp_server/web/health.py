"""Probes and counters: /healthz (the process lives), /readyz (it can judge tokens and keep its audit), /metrics."""

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from mcp_server.auth.authenticator import Authenticator
from mcp_server.observe import metrics
from mcp_server.observe.audit import AuditLog
from mcp_server.web.guards import requires_scopes

EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"


def routes(authenticator: Authenticator, audit: AuditLog, *, metrics_scope: str | None) -> list[HTTPRouteHandler]:
    """The handlers; `metrics_scope` None leaves /metrics to a port of its own."""

    @get("/healthz", sync_to_thread=False)
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @get("/readyz", sync_to_thread=False)
    def readyz() -> Response[dict[str, object]]:
        found = [(issuer.state, issuer.problem) for issuer in authenticator.issuers.values()]
        best = overall([state for state, _ in found])
        if audit.failing and best == "ok":
            best = "degraded"
        if audit.refuses:
            best = "down"
        issuers = [{"state": state, **({"problem": why} if why else {})} for state, why in found]
        body: dict[str, object] = {"status": best, "issuers": issuers}
        if audit.failing:
            body["audit"] = "failing"
        return Response(body, status_code=503 if best == "down" else 200)

    handlers: list[HTTPRouteHandler] = [healthz, readyz]
    if metrics_scope is not None:

        @get("/metrics", guards=[requires_scopes(metrics_scope)], sync_to_thread=False)
        def exposition() -> Response[bytes]:
            return Response(metrics.exposition(), media_type=EXPOSITION)

        handlers.append(exposition)
    return handlers


def overall(states: list[str]) -> str:
    """One word for all issuers: `down` when none can be judged, `ok` when all are, else `degraded`."""
    if set(states) == {"ok"}:
        return "ok"
    return "down" if set(states) == {"down"} else "degraded"
