"""The protected resource metadata, public at every place a client may look (RFC 9728 §3)."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from litestar import HttpMethod, Request, Response, route
from litestar.handlers import HTTPRouteHandler

from mcp_server.auth import metadata
from mcp_server.auth.metadata import ResourceDescription

MAX_AGE_S = 300
PREFLIGHT = {
    "access-control-allow-origin": "*",
    "access-control-allow-methods": "GET",
    "access-control-allow-headers": "mcp-protocol-version",
    "access-control-max-age": "600",
}
"""A client in a browser names its revision wherever it asks, which makes the browser ask first."""


def places(paths: Iterable[str]) -> list[str]:
    """Where it lies: at the root and at each path inserted."""
    return sorted({metadata.WELL_KNOWN, *(metadata.WELL_KNOWN + path for path in paths)})


def routes(described: Callable[[], ResourceDescription], at: Sequence[str]) -> list[HTTPRouteHandler]:
    """A handler at all places; any origin may read what is public."""

    @route(
        list(at),
        http_method=[HttpMethod.GET, HttpMethod.HEAD, HttpMethod.OPTIONS],
        status_code=200,
        sync_to_thread=False,
    )
    def protected_resource(request: Request[Any, Any, Any]) -> Response[bytes]:
        if request.method == HttpMethod.OPTIONS:
            return Response(b"", status_code=204, headers=PREFLIGHT)
        headers = {
            "cache-control": f"public, max-age={MAX_AGE_S}",
            "access-control-allow-origin": "*",
        }
        body = metadata.document(described())
        return Response(body, media_type="application/json", headers=headers)

    return [protected_resource]
