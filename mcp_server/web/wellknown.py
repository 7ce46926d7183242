"""The protected resource metadata, public at every place a client may look (RFC 9728 §3)."""

from collections.abc import Callable, Iterable
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


def routes(described: Callable[[], ResourceDescription], paths: Iterable[str]) -> list[HTTPRouteHandler]:
    """A handler at the root and at each path inserted; any origin may read what is public."""
    places = sorted({metadata.WELL_KNOWN, *(metadata.WELL_KNOWN + path for path in paths)})

    @route(
        places, http_method=[HttpMethod.GET, HttpMethod.HEAD, HttpMethod.OPTIONS], status_code=200, sync_to_thread=False
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
