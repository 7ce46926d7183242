"""Probes and counters: /healthz (the process lives), /readyz (it can judge tokens and keep its audit), /metrics."""

from collections.abc import Callable, Mapping

from litestar import HttpMethod, Response, route
from litestar.handlers import HTTPRouteHandler

from mcp_server.auth.authenticator import Authenticator
from mcp_server.observe import log, metrics
from mcp_server.observe.audit import AuditLog
from mcp_server.web.guards import requires_scopes

READS = [HttpMethod.GET, HttpMethod.HEAD]
"""Monitors and `curl -I` ask by HEAD (RFC 9110 §9.1); the web server sends no body then."""


def readiness(
    authenticator: Authenticator,
    audit: AuditLog,
    apis: Callable[[], Mapping[str, str]] = dict,
    draining: Callable[[], bool] = bool,
) -> dict[str, object]:
    """What a worker's /readyz says; `status` is the whole in a word.

    `apis` are those whose newest document cannot be taken, with the reason for operators.
    """
    found = [(issuer.state, issuer.problem) for issuer in authenticator.issuers.values()]
    best = overall([state for state, _ in found])
    broken = apis()
    failing = {name: "failing" for name, fails in (("audit", audit.failing), ("log", log.failing())) if fails}
    if (failing or broken) and best == "ok":
        best = "degraded"
    if audit.refuses:
        best = "down"
    if draining():
        best = "draining"
    issuers = [{"state": state, **({"problem": why} if why else {})} for state, why in found]
    body: dict[str, object] = {"status": best, "issuers": issuers, **failing}
    if broken:
        body["apis"] = dict.fromkeys(sorted(broken), "an older document is served")
    return body


def probes(said: Callable[[], dict[str, object]]) -> list[HTTPRouteHandler]:
    """/healthz and /readyz of one worker; a server that is draining lives, and wants no more requests."""

    @route("/healthz", http_method=READS, sync_to_thread=False)
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @route("/readyz", http_method=READS, sync_to_thread=False)
    def readyz() -> Response[dict[str, object]]:
        body = said()
        return Response(body, status_code=503 if body["status"] in ("down", "draining") else 200)

    return [healthz, readyz]


def counters(scope: str) -> HTTPRouteHandler:
    """/metrics, for who holds the scope."""

    @route("/metrics", http_method=READS, guards=[requires_scopes(scope)])
    async def exposition() -> Response[bytes]:
        return Response(await metrics.exposed(), media_type=metrics.EXPOSITION)

    return exposition


def overall(states: list[str]) -> str:
    """One word for all issuers: `down` when none can be judged, `ok` when all are, else `degraded`."""
    if set(states) == {"ok"}:
        return "ok"
    return "down" if set(states) == {"down"} else "degraded"
