"""What msgspec's JSON Schema leaves out: choices in the order they were written, formats of times, fitting defaults."""

import enum
import typing
from datetime import datetime, time
from typing import Annotated, Any, Final

from mcp_server.authoring import json_types
from mcp_server.authoring.constraints import UNIONS

_FORMATS: Final[dict[Any, str]] = {datetime: "date-time", time: "time"}
_REF: Final = "#/$defs/"


class Details:
    """Adds to a schema what its type says beyond it. `inputs`: what is read, not written.

    A time without an offset is read as one, yet it is no RFC 3339 text: a result of ours must not promise the format.
    """

    def __init__(self, definitions: dict[str, Any], *, inputs: bool) -> None:
        self._definitions, self._inputs = definitions, inputs
        self._done: set[str] = set()

    def add(self, hint: Any, schema: dict[str, Any]) -> None:
        """Walk type and schema side by side; each definition once, for types may hold themselves."""
        reference = schema.get("$ref")
        if reference is not None:
            if reference not in self._done:
                self._done.add(reference)
                self.add(hint, self._definitions[reference.removeprefix(_REF)])
            return
        origin, inner = typing.get_origin(hint), typing.get_args(hint)
        if origin is Annotated:
            self.add(inner[0], schema)
        elif origin in UNIONS:
            for branch in schema.get("anyOf", [schema]):
                for one in inner:
                    self.add(one, branch)
        elif hint in _FORMATS:
            if self._inputs and schema.get("type") == "string" and "enum" not in schema:
                schema.setdefault("format", _FORMATS[hint])
        elif choices := choices_of(hint):
            _order(schema, choices)
        else:
            self._add_inside(hint, inner, schema)

    def _add_inside(self, hint: Any, inner: tuple[Any, ...], schema: dict[str, Any]) -> None:
        for name, field in _fields(hint).items():
            one = schema.get("properties", {}).get(name)
            if one is not None:
                self.add(field, one)
                if one.get("default", ...) is None and not _nullable(one):
                    del one["default"]  # `x: int = None` in a class: null would be refused
        if isinstance(schema.get("items"), dict) and inner:
            self.add(inner[0], schema["items"])
        if isinstance(schema.get("additionalProperties"), dict) and len(inner) == 2:
            self.add(inner[1], schema["additionalProperties"])
        for one, kind in zip(schema.get("prefixItems", ()), inner, strict=False):
            self.add(kind, one)


def choices_of(hint: Any) -> tuple[Any, ...]:
    """What a `Literal` or an enum may be, in the order it was written; nothing for other types."""
    if typing.get_origin(hint) is Annotated:
        return choices_of(typing.get_args(hint)[0])
    if typing.get_origin(hint) in UNIONS:
        return tuple(choice for one in typing.get_args(hint) for choice in choices_of(one))
    if typing.get_origin(hint) is typing.Literal:
        return typing.get_args(hint)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return tuple(one.value for one in hint)
    return ()


def _order(schema: dict[str, Any], choices: tuple[Any, ...]) -> None:
    """Put choices as they were written, for people and models read the first as the usual one."""
    place = {(type(choice), choice): at for at, choice in enumerate(choices)}
    if all((type(one), one) in place for one in schema.get("enum", ())) and "enum" in schema:
        schema["enum"] = sorted(schema["enum"], key=lambda one: place[type(one), one])


def _fields(hint: Any) -> dict[str, Any]:
    """The fields of a class by their names in JSON."""
    fields = json_types.fields_of(hint)
    kind = typing.get_origin(hint) or hint
    names = dict(
        zip(getattr(kind, "__struct_fields__", ()), getattr(kind, "__struct_encode_fields__", ()), strict=True)
    )
    return {names.get(name, name): field for name, field in fields.items()}


def _nullable(schema: dict[str, Any]) -> bool:
    if "$ref" in schema:
        return False
    branches = schema.get("anyOf", [schema])
    return any(
        one.get("type", "null") == "null" and None in one.get("enum", [None]) for one in branches if "$ref" not in one
    )
