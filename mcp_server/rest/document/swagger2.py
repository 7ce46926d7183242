"""Swagger 2.0 → OpenAPI 3.1, by table and piece by piece: what is read as 3.1 is made when an operation asks for it.

Schemas stay where they are, for references to them do; their dialect is 3.0's, near enough.
"""

import functools
from typing import Any, Final

from mcp_server.rest.document.context import Context, Unusable
from mcp_server.rest.document.values import text_in
from mcp_server.rest.model import FORM_TYPE

Found = dict[tuple[str, str], tuple[dict[str, Any], str]]
_MULTIPART: Final = "multipart/form-data"
_STYLES: Final[dict[str, tuple[str, bool]]] = {
    "csv": ("form", False), "ssv": ("spaceDelimited", False), "tsv": ("tabDelimited", False),
    "pipes": ("pipeDelimited", False), "multi": ("form", True),
}  # fmt: skip
_NO_SCHEMA: Final = frozenset({"name", "in", "description", "required", "collectionFormat", "allowEmptyValue"})


def split(context: Context, operation: dict[str, Any], found: Found) -> tuple[Found, dict[str, Any] | None]:
    """The parameters as 3.1 has them, and the request body that `body` and `formData` are there."""
    rest: Found = {}
    fields: dict[str, dict[str, Any]] = {}
    body: dict[str, Any] | None = None
    types = _types(operation, context.main, "consumes")
    for (name, place), (held, at) in found.items():
        if place == "body":
            content = {one: {"schema": held.get("schema", {})} for one in types or ["application/json"]}
            body = {**held, "content": content}
        elif place == "formData":
            fields[name] = held
        else:
            rest[name, place] = (context.once(held, "2.0", functools.partial(_parameter, held)), at)
    return rest, body if body is not None or not fields else _form(fields, types)


def _types(operation: dict[str, Any], main: dict[str, Any], key: str) -> list[str]:
    held = operation.get(key, main.get(key))
    return [one for one in held if type(one) is str] if type(held) is list else []


def _schema(held: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in held.items() if key not in _NO_SCHEMA}


def _parameter(held: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {key: held[key] for key in ("name", "in", "description", "required") if key in held}
    made["schema"] = _schema(held)
    if held.get("type") == "array":
        style, explode = _STYLES.get(text_in(held, "collectionFormat"), _STYLES["csv"])
        if style == "form" and held.get("in") in ("path", "header"):
            style, explode = "simple", False
        made |= {"style": style, "explode": explode}
    return made


def _form(fields: dict[str, dict[str, Any]], types: list[str]) -> dict[str, Any]:
    files = any(held.get("type") == "file" for held in fields.values())
    if files:
        media_type = _MULTIPART
    else:
        media_type = next((one for one in types if one.lower().startswith((FORM_TYPE, _MULTIPART))), FORM_TYPE)
    schema: dict[str, Any] = {"type": "object", "properties": {}, "required": []}
    encoding: dict[str, Any] = {}
    for name, held in fields.items():
        field = _schema(held)
        if text_in(held, "description"):
            field["description"] = held["description"]
        schema["properties"][name] = field
        if held.get("required") in (True, "true"):
            schema["required"].append(name)
        if held.get("type") == "array":
            style, explode = _STYLES.get(text_in(held, "collectionFormat"), _STYLES["csv"])
            encoding[name] = {"style": style, "explode": explode}
    media: dict[str, Any] = {"schema": schema}
    if encoding:
        media["encoding"] = encoding
    return {"required": bool(schema["required"]), "content": {media_type: media}}


def answers(context: Context, operation: dict[str, Any], pointer: str) -> dict[str, Any]:
    """The answers with a schema for each media type that `produces` names."""
    held = operation.get("responses")
    types = _types(operation, context.main, "produces") or ["application/json"]
    made: dict[str, Any] = {}
    for status, one in held.items() if type(held) is dict else ():
        try:
            answer, _ = context.followed(one, f"{pointer}/{status}")
        except Unusable as refused:
            context.faults.add(refused.pointer, refused.text)
            continue
        if type(answer) is not dict:
            continue
        schema = answer.get("schema")
        made[status] = {"description": text_in(answer, "description")}
        if schema is not None:
            file = type(schema) is dict and schema.get("type") == "file"
            of = (
                [one for one in types if not file or "json" not in one] or ["application/octet-stream"]
                if file
                else types
            )
            made[status]["content"] = {one: {"schema": schema} for one in of}
    return made


def servers(main: dict[str, Any], location: str) -> list[dict[str, Any]]:
    """`schemes`, `host` and `basePath` as one server; https where there is a choice."""
    host, base = text_in(main, "host"), text_in(main, "basePath")
    if base and base[0] != "/":
        base = f"/{base}"
    if not host:
        return [{"url": base}] if base else []
    listed = main.get("schemes")
    schemes = [one for one in listed if one in ("https", "http")] if type(listed) is list else []
    if not schemes:
        schemes = ["http" if location.startswith("http://") else "https"]
    return [{"url": f"{'https' if 'https' in schemes else 'http'}://{host}{base}"}]
