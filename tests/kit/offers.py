"""Small documents of a REST API, made as values: what the reader would make of a file that says no more."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from mcp_server.rest.model import (
    Alternative,
    Answer,
    Body,
    BodyKind,
    Document,
    Operation,
    OperationDocs,
    Parameter,
    Place,
    Schema,
    SecurityScheme,
    Style,
)
from mcp_server.rest.offer.config import ApiConfig
from mcp_server.rest.offer.config_file import read
from mcp_server.rest.offer.offered import Offer, Offered
from mcp_server.rest.offer.plan import plan

TEXT: Final[Schema] = {"type": "string"}
_STYLES: Final[Mapping[str, Style]] = {
    "path": Style(name="simple", explode=False),
    "header": Style(name="simple", explode=False),
}
_FORM: Final = Style(name="form", explode=True)
_MEDIA: Final[Mapping[BodyKind, str]] = {
    "json": "application/json",
    "form": "application/x-www-form-urlencoded",
    "multipart": "multipart/form-data",
    "text": "text/plain",
    "bytes": "application/octet-stream",
}


def parameter(
    name: str, place: Place = "query", schema: Schema = TEXT, *, required: bool = False, **more: Any
) -> Parameter:
    """A parameter in the default style of its place; one of a path is required."""
    style = _STYLES.get(place, _FORM)
    return Parameter(name=name, place=place, required=required or place == "path", schema=schema, style=style, **more)


def body(schema: Schema, kind: BodyKind = "json", *, required: bool = True) -> Body:
    """A request body."""
    return Body(kind=kind, media_type=_MEDIA[kind], required=required, schema=schema)


def answer(
    schema: Schema, status: str = "200", media_type: str = "application/json", *, stream: bool = False
) -> Answer:
    """A documented answer."""
    return Answer(status=status, media_type=media_type, schema=schema, stream=stream)


def operation(line: str, operation_id: str = "", *parameters: Parameter, **more: Any) -> Operation:
    """`GET /orders/{id}` with an id; what else an Operation has, or its `OperationDocs`, by keyword."""
    method, path = line.split(" ", 1)
    said = {name: more.pop(name) for name in OperationDocs.__struct_fields__ if name in more}
    about = OperationDocs(operation_id=operation_id, **said)
    pointer = f"/paths/{path.replace('~', '~0').replace('/', '~1')}/{method.lower()}"
    return Operation(method=method, path=path, pointer=pointer, about=about, parameters=parameters, **more)


def document(*operations: Operation, **more: Any) -> Document:
    """A document of these operations."""
    return Document(title="orders", version="1", operations=operations, **more)


def config(text: str = "", name: str = "orders") -> ApiConfig:
    """The configuration of one API from the members of its table."""
    return read(f"[apis.{name}]\n{text}".encode())[name]


def offered(found: Document | Operation, text: str = "", **more: Any) -> Offered:
    """What is offered of a document, or of an operation alone, with the members of the API's table."""
    return plan(document(found, **more) if isinstance(found, Operation) else found, config(text))


def offer(found: Document | Operation, text: str = "", **more: Any) -> Offer:
    """The only offer of a document."""
    (only,) = offered(found, text, **more).offers
    return only


def schema(found: Offer) -> Any:
    """The input schema of an offer."""
    return found.arguments.schema_object()


def properties(found: Offer) -> Any:
    """The arguments of an offer with their schemas."""
    return schema(found)["properties"]


def output(found: Offer) -> Any:
    """The output schema of an offer, decoded."""
    return None if found.output_schema is None else msgspec.json.decode(found.output_schema)


def oauth(*scopes: str) -> SecurityScheme:
    """A scheme that has scopes."""
    return SecurityScheme(kind="oauth2", scopes=dict.fromkeys(scopes, ""))


def alternatives(*found: Mapping[str, tuple[str, ...]]) -> tuple[Alternative, ...]:
    """The alternatives of `security`."""
    return tuple(found)
