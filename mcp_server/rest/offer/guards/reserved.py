"""Names that are this server's to say: as whom an API is called, and by which method; of headers, queries, bodies."""

import functools
from collections.abc import Mapping
from typing import Final, Literal

from mcp_server.rest import header_names
from mcp_server.rest.model import Place, SecurityScheme
from mcp_server.rest.offer.config import Identity
from mcp_server.rest.offer.guards import spellings

METHOD: Final = "_method"
"""A member of a query, a form or JSON by which Symfony, Laravel, Rails and Spring take a request for another method's.

What it does then is not what it was judged by: an operation's scopes, its hints, whether it may be tried again.
"""


def headers_of(identity: Identity | None) -> frozenset[str]:
    """Headers by which we say as whom a call is made: a model that fills one in says it where we do not."""
    if identity is None:
        return frozenset()
    stated = (identity.header,) if identity.mode == "secret" and identity.header else ()
    return frozenset(header_names.folded(one) for one in (*identity.forward, *stated))


def is_credential(place: Place, name: str, schemes: Mapping[str, SecurityScheme]) -> bool:
    """Whether a security scheme of the document sends it."""
    return any(scheme.place == place and spellings.same(scheme.parameter, name) for scheme in schemes.values())


def says_method(place: Place | Literal["field"], name: str) -> bool:
    """Whether it says another method than the request's own."""
    if place == "header" and header_names.folded(name) in header_names.METHOD:
        return True
    if place == "path" or (name.isascii() and "%" not in name and "method" not in name.lower()):  # nearly all, at once
        return False
    return _protected(frozenset({METHOD})).taken(name) is not None


def in_query(schemes: Mapping[str, SecurityScheme]) -> spellings.ProtectedNames:
    """What nobody but us writes into a query."""
    keys = (one.parameter for one in schemes.values() if one.place == "query" and one.parameter)
    return _protected(frozenset({METHOD, *keys}))


@functools.lru_cache(maxsize=256)
def _protected(names: frozenset[str]) -> spellings.ProtectedNames:
    return spellings.ProtectedNames(names)
