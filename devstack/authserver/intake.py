"""Host, Origin and CORS: no web page may use the server of the developer who looks at it.

A page reaches loopback in two ways: by a request of its own, which a browser marks with the page's Origin, and by a
name of its own that is made to point to loopback (DNS rebinding), which stands in Host. The rules are the product's;
where Keycloak judges by the client that asks, so do the handlers here: its documents are everyone's, every preflight
passes, and the request itself is refused.

A GET without Origin is left: `<img src=.../auth?...>` in any page. What a browser tells of each request (Fetch
Metadata) says whether a person's window goes there; programs and older browsers tell nothing, and are let in.
"""

import re
from typing import Any, Final

from litestar import Request, Response

from devstack.authserver.clients.redirects import LOOPBACK, parse

CONTROL: Final = "/_dev/"
JSON_TYPE: Final = "application/json"
PREFLIGHT: Final = {"access-control-allow-methods": "GET, POST, OPTIONS", "access-control-max-age": "3600"}
_AUTHORITY: Final = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9.-]+)(?::[0-9]{1,5})?")


class Intake:
    """What a running issuer reads at all.

    `by_client` are the paths whose handlers know which origins may ask, `pages` those that a window alone opens.
    """

    def __init__(self, issuer: str, by_client: frozenset[str], pages: frozenset[str] = frozenset()) -> None:
        own = parse(issuer)
        if own is None:
            raise ValueError(f"{issuer} is no address of an issuer")
        self._hosts = LOOPBACK | {own.host}
        port = "" if own.port is None else f":{own.port}"
        self._origins = frozenset(f"{own.scheme}://{host}{port}" for host in self._hosts)
        self._by_client, self._pages = by_client, pages

    def refusal(self, request: Request[Any, Any, Any]) -> Response[Any] | None:
        """The answer to a request that must not be read, else None."""
        hosts, origins = (request.headers.getall(name, []) for name in ("host", "origin"))
        if len(hosts) > 1 or len(origins) > 1:  # one of two would be judged and the other believed (RFC 9112 §3.2)
            return _refused(400, "two Host or Origin headers")
        path = request.scope["path"]
        control = path.startswith(CONTROL)
        host = _AUTHORITY.fullmatch(hosts[0].lower() if hosts else "")
        if host is None or host[1] not in (LOOPBACK if control else self._hosts):
            return _refused(403, "host not allowed")
        if path in self._pages and not _opens_a_window(request):
            return _refused(403, "open this page in a window of its own")
        if request.method != "POST":  # documents are everyone's, pages are framed by nobody
            return None
        if origins and path not in self._by_client and origins[0] not in self._origins:
            return _refused(403, "origin not allowed")
        # A form or a simple request cannot have this type: a browser asks first, and nobody says yes.
        media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if control and media != JSON_TYPE:
            return _refused(415, f"content-type must be {JSON_TYPE}")
        return None


def _opens_a_window(request: Request[Any, Any, Any]) -> bool:
    """Whether a person goes there, as far as the browser tells: no image, frame or script does, and no prefetch."""
    told = request.headers
    wanted = (("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document"))
    opened = all(value == good for name, good in wanted for value in told.getall(name, []))
    return opened and not any("prefetch" in value for value in told.getall("sec-purpose", []))


def _refused(status: int, text: str) -> Response[Any]:
    return Response({"error": text}, status_code=status)


def preflight(request: Request[Any, Any, Any]) -> Response[Any]:
    """Every preflight passes; it is the request itself that is judged."""
    asked = request.headers.get("access-control-request-headers", "")
    headers = {**PREFLIGHT, **allowing(request), "access-control-allow-headers": asked}
    return Response(None, status_code=200, headers=headers)


def allowing(request: Request[Any, Any, Any]) -> dict[str, str]:
    """The headers that let the asking origin read the answer; none where no browser asked."""
    origin = request.headers.get("origin")
    return {"access-control-allow-origin": origin, "vary": "Origin"} if origin else {}


def foreign(request: Request[Any, Any, Any], origins: tuple[str, ...] | frozenset[str]) -> Response[Any] | None:
    """The 403 for a browser whose origin the client has not listed, without a CORS header; None lets it pass."""
    origin = request.headers.get("origin")
    if origin is None or origin in origins:
        return None
    return Response({"error": "Invalid origin"}, status_code=403)
