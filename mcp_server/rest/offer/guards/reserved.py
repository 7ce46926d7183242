"""Names that are this server's to say: what says as whom an API is called, by a header, a query or a cookie."""

from collections.abc import Mapping

from mcp_server.rest.model import Place, SecurityScheme
from mcp_server.rest.offer.config import Identity
from mcp_server.rest.offer.guards import spellings


def header(name: str) -> str:
    """A header's name as a server may read it: CGI has one variable for `X-Key` and `X_Key`."""
    return name.lower().replace("_", "-")


def headers_of(identity: Identity | None) -> frozenset[str]:
    """Headers by which we say as whom a call is made: a model that fills one in says it where we do not."""
    if identity is None:
        return frozenset()
    stated = (identity.header,) if identity.mode == "secret" and identity.header else ()
    return frozenset(header(one) for one in (*identity.forward, *stated))


def is_credential(place: Place, name: str, schemes: Mapping[str, SecurityScheme]) -> bool:
    """Whether a security scheme of the document sends it."""
    return any(scheme.place == place and spellings.same(scheme.parameter, name) for scheme in schemes.values())
