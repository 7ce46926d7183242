"""The protected resource metadata, public at every place a client may look (RFC 9728 §3)."""

from collections.abc import Callable, Iterable

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from mcp_server.auth import metadata
from mcp_server.auth.metadata import ResourceDescription

MAX_AGE_S = 300


def routes(described: Callable[[], ResourceDescription], paths: Iterable[str]) -> list[HTTPRouteHandler]:
    """A handler at the root and at each path inserted; any origin may read what is public."""
    places = sorted({metadata.WELL_KNOWN, *(metadata.WELL_KNOWN + path for path in paths)})

    @get(places, sync_to_thread=False)
    def protected_resource() -> Response[bytes]:
        headers = {
            "cache-control": f"public, max-age={MAX_AGE_S}",
            "access-control-allow-origin": "*",
        }
        body = metadata.document(described())
        return Response(body, media_type="application/json", headers=headers)

    return [protected_resource]
