"""Operations and parameters made by hand."""

from typing import Any

from mcp_server.rest.model import Body, Operation, OperationDocs, Parameter, Place, Style
from mcp_server.rest.wire.address import Base, base_of

BASE: Base = base_of("https://api.example.test/v2")
USUAL: dict[Place, str] = {
    "path": "simple", "query": "form", "header": "simple", "cookie": "form", "querystring": "content",
}  # fmt: skip


def parameter(
    name: str, place: Place = "query", style: str | None = None, explode: bool | None = None, **more: Any
) -> Parameter:
    """A parameter, its style the usual one of its place unless said; `more` are fields of the style."""
    found = style or USUAL[place]
    exploded = found in ("form", "cookie") if explode is None else explode
    return Parameter(
        name=name, place=place, required=place == "path", schema={}, style=Style(name=found, explode=exploded, **more)
    )


def operation(
    *parameters: Parameter, path: str = "/orders", method: str = "get", body: Body | None = None
) -> Operation:
    """An operation of these parameters."""
    return Operation(
        method=method, path=path, pointer="/paths/x", about=OperationDocs(), parameters=parameters, body=body
    )
