"""What each keyword of JSON Schema 2020-12 takes: a table of checks. Real documents have `"minLength": "3"`.

A value that is nearly right is mended; one that means nothing is left out (`DROP`), for a validator refuses a whole
schema over one such keyword, and with it the tool.
"""

import math
from collections.abc import Callable
from typing import Any, Final

DROP: Final = object()
"""Instead of a value: the keyword is left out."""
TYPES: Final = frozenset({"string", "number", "integer", "boolean", "object", "array", "null"})
_OTHER_TYPES: Final = {
    "file": "string", "text": "string", "str": "string", "date": "string", "datetime": "string", "date-time": "string",
    "uuid": "string", "guid": "string", "email": "string", "uri": "string", "url": "string", "password": "string",
    "byte": "string", "binary": "string", "char": "string", "enum": "string", "time": "string",
    "int": "integer", "int32": "integer", "int64": "integer", "long": "integer", "short": "integer",
    "float": "number", "double": "number", "decimal": "number", "numeric": "number",
    "bool": "boolean", "map": "object", "dict": "object", "hash": "object", "json": "object", "list": "array",
}  # fmt: skip


def number(value: Any) -> Any:
    """A finite number, or the text of one."""
    if type(value) is int or (type(value) is float and math.isfinite(value)):
        return value
    if type(value) is str:
        try:
            read = float(value)
        except ValueError:
            return DROP
        if math.isfinite(read):
            return int(read) if read.is_integer() else read
    return DROP


def positive(value: Any) -> Any:
    """A number above zero."""
    read = number(value)
    return read if read is not DROP and read > 0 else DROP


def count(value: Any) -> Any:
    """A whole number from zero."""
    read = value if type(value) is int else number(value)
    if read is DROP or read < 0 or read != int(read):
        return DROP
    return int(read)


def text(value: Any) -> Any:
    """A text; a number stands for its digits."""
    if type(value) is str:
        return value
    return str(value) if type(value) is int or type(value) is float else DROP


def truth(value: Any) -> Any:
    """A truth, or its name."""
    if type(value) is bool:
        return value
    return {"true": True, "false": False}.get(str(value).lower(), DROP) if type(value) is str else DROP


def types(value: Any) -> Any:
    """One or more of the seven types; the names that other languages have for them are understood."""
    if type(value) is str:
        return value if value in TYPES else _type(value)
    if type(value) is not list:
        return DROP
    if all(type(one) is str and one in TYPES for one in value) and len(set(value)) == len(value) > 0:
        return value
    known = dict.fromkeys(_type(one) for one in value if one is not None)
    if None in value:
        known["null"] = None
    known.pop(DROP, None)
    return list(known) or DROP


def _type(value: Any) -> Any:
    if type(value) is not str:
        return DROP
    name = value.lower()
    return name if name in TYPES else _OTHER_TYPES.get(name, DROP)


def names(value: Any) -> Any:
    """A list of texts, each once: `required` is a truth in the drafts before 4."""
    if type(value) is not list:
        return DROP
    if all(type(one) is str for one in value) and len(set(value)) == len(value):
        return value
    return list(dict.fromkeys(one for one in value if type(one) is str)) or DROP


def some(value: Any) -> Any:
    """A list with something in it: an empty `enum` would admit nothing."""
    return value if type(value) is list and value else DROP


def examples(value: Any) -> Any:
    """A list; OpenAPI's map of examples is one of their values."""
    if type(value) is dict:
        return [one["value"] if type(one) is dict and "value" in one else one for one in value.values()]
    return value if type(value) is list else DROP


def never(_: Any) -> Any:
    """What would make a validator resolve or switch dialects (`$id`, `$schema`), and a `$ref` that is no text."""
    return DROP


CHECKS: Final[dict[str, Callable[[Any], Any]]] = {
    "type": types, "enum": some, "required": names, "examples": examples,
    "minimum": number, "maximum": number, "multipleOf": positive,
    "minLength": count, "maxLength": count, "minItems": count, "maxItems": count,
    "minProperties": count, "maxProperties": count, "minContains": count, "maxContains": count,
    "pattern": text, "format": text, "title": text, "description": text, "$comment": text,
    "contentEncoding": text, "contentMediaType": text,
    "uniqueItems": truth, "readOnly": truth, "writeOnly": truth, "deprecated": truth,
    "id": never, "$id": never, "$schema": never, "$vocabulary": never, "$anchor": never, "$dynamicAnchor": never,
    "$recursiveAnchor": never, "$recursiveRef": never, "$dynamicRef": never, "$ref": never,
}  # fmt: skip
