"""Browsers of other origins, as Keycloak treats them: documents are everyone's, tokens the client's own origins'."""

from typing import Any

from litestar import Request, Response

PREFLIGHT = {"access-control-allow-methods": "GET, POST, OPTIONS", "access-control-max-age": "3600"}


def preflight(request: Request[Any, Any, Any]) -> Response[Any]:
    """Every preflight passes; it is the request itself that is judged."""
    asked = request.headers.get("access-control-request-headers", "")
    headers = {**PREFLIGHT, **allowing(request), "access-control-allow-headers": asked}
    return Response(None, status_code=200, headers=headers)


def allowing(request: Request[Any, Any, Any]) -> dict[str, str]:
    """The headers that let the asking origin read the answer; none where no browser asked."""
    origin = request.headers.get("origin")
    return {"access-control-allow-origin": origin, "vary": "Origin"} if origin else {}


def refusal(request: Request[Any, Any, Any], origins: tuple[str, ...] | frozenset[str]) -> Response[Any] | None:
    """The 403 for a browser whose origin is not listed, without a CORS header; None lets the request pass."""
    origin = request.headers.get("origin")
    if origin is None or origin in origins:
        return None
    return Response({"error": "Invalid origin"}, status_code=403)
