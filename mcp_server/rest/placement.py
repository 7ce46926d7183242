"""Where a static secret goes: a header, the query or a cookie, as the operator says or else the document."""

import base64
from collections.abc import Iterable, Mapping
from urllib.parse import quote

import msgspec

from mcp_server.rest import header_names
from mcp_server.rest.model import Fault, Header, SecurityScheme, WireRequest
from mcp_server.rest.offer.config import Identity


def keys(schemes: Mapping[str, SecurityScheme]) -> list[SecurityScheme]:
    """Where a document has API keys: never in a header that frames the request, which a key would make another one."""
    found = (one for one in schemes.values() if one.kind == "apiKey")
    return [one for one in found if one.place != "header" or not header_names.transports(one.parameter)]


def misplaced(schemes: Mapping[str, SecurityScheme], identities: Iterable[Identity]) -> Fault | None:
    """What is wrong with where a document has its key, if that is where a secret is to go."""
    if not any(one.mode == "secret" and not one.header for one in identities):
        return None
    for name, one in schemes.items():
        if one.kind == "apiKey" and one.place == "header" and header_names.transports(one.parameter):
            text = f"its key goes into the header {one.parameter!r}, which frames the request: set identity.header"
            return Fault(f"/components/securitySchemes/{name}", text[:300])
    return None


def placed(
    request: WireRequest, own: tuple[Header, ...], schemes: Mapping[str, SecurityScheme], *, stated: bool
) -> tuple[WireRequest, tuple[Header, ...]]:
    """A static secret where the operator or else the document says: a header, the query, a cookie."""
    (name, secret), *_ = own
    key = next(iter(keys(schemes)), None)
    if stated or (name != "authorization" and key is not None):
        return request, own
    if key is not None and key.place == "query":
        pair = f"{quote(key.parameter, safe='')}={quote(secret, safe='')}"
        return msgspec.structs.replace(request, url=f"{request.url}{'&' if '?' in request.url else '?'}{pair}"), ()
    if key is not None:
        cookies = [value for name, value in request.headers if name == "cookie"]
        kept = tuple(one for one in request.headers if one[0] != "cookie")
        cookie = "; ".join([*cookies, f"{key.parameter}={quote(secret, safe='')}"])
        return msgspec.structs.replace(request, headers=kept), (("cookie", cookie),)
    if ":" in secret and " " not in secret:
        return request, ((name, f"Basic {base64.b64encode(secret.encode()).decode()}"),)
    return request, ((name, secret if " " in secret else f"Bearer {secret}"),)
