"""A request that a handler makes by itself: a path below the base address, a query by names, JSON, a few headers.

What a handler puts into it often came from a model. So nothing of it leads elsewhere, begins another header or request,
or says as whom the API is called.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from mcp_server.authoring.errors import BadArguments, ToolError
from mcp_server.rest import header_names
from mcp_server.rest.model import (
    CallValues,
    Operation,
    OperationDocs,
    Parameter,
    Place,
    SecurityScheme,
    Style,
    WireRequest,
)
from mcp_server.rest.offer import words
from mcp_server.rest.offer.config import Identity
from mcp_server.rest.offer.guards import reserved, spellings
from mcp_server.rest.wire import address, media, values
from mcp_server.rest.wire.address import Base

Method = Literal["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "QUERY"]
_QUERY_STYLE: Final = Style(name="form", explode=True)


def request(
    base: Base,
    method: Method,
    path: str,
    query: Mapping[str, Any],
    body: Any,
    schemes: Mapping[str, SecurityScheme],
) -> WireRequest:
    """The request below the base address; raises `ToolError` for a path that would leave it, and for names of ours."""
    if set(path) & set("{}#?\\"):
        raise ToolError("a path is plain: what is put into it is quoted, and the query is given by its names")
    asked = tuple(
        Parameter(name=name, place="query", required=False, schema=True, style=_QUERY_STYLE) for name in query
    )
    operation = Operation(method=method.lower(), path=path, pointer="", about=OperationDocs(), parameters=asked)
    given: dict[tuple[Place, str], Any] = {("query", name): value for name, value in query.items()}
    try:
        _require_free(query, body, schemes)
        made = address.request(operation, CallValues(parameters=given), base)
    except BadArguments as error:
        raise ToolError(str(error)) from error
    if body is msgspec.UNSET:
        return made
    return msgspec.structs.replace(
        made, headers=(*made.headers, ("content-type", "application/json")), body=msgspec.json.encode(body)
    )


def _require_free(query: Mapping[str, Any], body: Any, schemes: Mapping[str, SecurityScheme]) -> None:
    """Refuse what would stand beside the API's key, or says another method: members of a value are a model's, too.

    Of two keys an API may take the first, which is not ours; with another method it is another operation.
    """
    kept = reserved.in_query(schemes)
    for name in spellings.bounded(query, "query"):
        for written in (name, *spellings.bounded(spellings.written(name, _QUERY_STYLE, query[name]), name)):
            if (found := kept.taken(written)) is not None:
                raise ToolError(f"query: no member {words.cut(words.clean(written), 64)!r}: {found!r} is this server's")
    for name in body if isinstance(body, Mapping) else ():
        if isinstance(name, str) and spellings.alias(name) == reserved.METHOD:
            raise ToolError(f"body: no member {words.cut(words.clean(name), 64)!r}: the method is said by itself")


def with_headers(
    made: WireRequest, given: Mapping[str, str], schemes: Mapping[str, SecurityScheme], identity: Identity
) -> WireRequest:
    """The request with headers of the handler's, in place of what it would else have by these names.

    Raises `ValueError` and `TypeError` for what its author has to mend, and `ToolError` for a value that is no
    header's: that may be an argument.
    """
    ours, headers = reserved.headers_of(identity), dict(made.headers)
    for name, value in given.items():
        folded = header_names.folded(name)
        refused = folded in ours or folded in header_names.METHOD or not header_names.handlers(folded)
        if refused or reserved.is_credential("header", name, schemes):
            raise ValueError(
                f"header {name!r} is not a handler's to send: it frames the request, says another method or "
                "target, as whom the API is called or where the call came from, or is the client's (identity.forward)"
            )
        if not header_names.is_token(name):
            raise ValueError(f"header {name!r}: no name of a header")
        headers[name.lower()] = _value(name, value)
    if made.body and not media.is_json(media.type_of(headers)):
        raise ValueError(f"header 'Content-Type': a body is sent as JSON, and {headers['content-type']!r} is none")
    return msgspec.structs.replace(made, headers=tuple(headers.items()))


def _value(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"header {name!r}: the value is a text, and not {type(value).__name__}")
    try:
        return values.checked_field(value, name)
    except BadArguments as error:
        raise ToolError(str(error)) from error
