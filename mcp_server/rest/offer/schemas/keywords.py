"""Which keywords of JSON Schema 2020-12 are shown, and what is left out of their values: what says little, or harms.

The reader has made each value one that the dialect allows. What is dropped here asks for less, never for more.
"""

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from mcp_server.protocol import param_headers

EMPTY_FORMATS: Final = frozenset({"int32", "int64", "float", "double", "string", "number", "integer", "boolean", ""})
"""Formats that tell a model nothing that the type has not told."""
LONGEST_EXAMPLE: Final = 60
LONGEST_DEFAULT: Final = 200
LONGEST_PATTERN: Final = 500
LONGEST_ENUM: Final = 4_000
"""A longer list of values costs more than its tool; the API knows it."""
_SLASHED: Final = re.compile(r"/(\^.*\$)/[a-z]*", re.DOTALL)
_HEADER: Final = b'"%s"' % param_headers.KEYWORD.encode()
DROP: Final = object()


def pattern(value: Any) -> Any:
    """A regular expression that a validator takes; one in slashes, as JavaScript writes it, without them."""
    if not isinstance(value, str) or len(value) > LONGEST_PATTERN:
        return DROP
    if slashed := _SLASHED.fullmatch(value):
        value = slashed[1]
    return value if _is_pattern(value) else DROP


@functools.lru_cache(4_096)
def _is_pattern(value: str) -> bool:
    import jsonschema_rs  # noqa: PLC0415 - 8 MB that a document without patterns has no use for until it is called

    try:
        jsonschema_rs.Draft202012Validator({"pattern": value})
    except (ValueError, UnicodeEncodeError):
        return False
    return True


def short(value: Any, longest: int) -> bool:
    """Whether a value is JSON of so many bytes at most.

    One that holds the keyword of parameter headers is refused whatever its length: it would be looked for there, found
    where it must not stand, and stop the start of the server.
    """
    try:
        encoded = msgspec.json.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
        return False
    return len(encoded) <= longest and _HEADER not in encoded


def _as_it_is(value: Any) -> Any:
    return value


def _value(value: Any) -> Any:
    return value if short(value, LONGEST_ENUM) else DROP


def _default(value: Any) -> Any:
    return value if short(value, LONGEST_DEFAULT) else DROP


def _examples(value: Any) -> Any:
    return [one for one in value if short(one, LONGEST_EXAMPLE)][:2] or DROP


def _format(value: Any) -> Any:
    return value if value not in EMPTY_FORMATS and len(value) <= LONGEST_EXAMPLE else DROP


def _is_true(value: Any) -> Any:
    return True if value is True else DROP


PLAIN: Final[Mapping[str, Callable[[Any], Any]]] = {
    **dict.fromkeys(
        (
            "type", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength",
            "maxLength", "minItems", "maxItems", "minContains", "maxContains", "minProperties", "maxProperties",
            "required", "dependentRequired", "contentEncoding", "contentMediaType",
        ),
        _as_it_is,
    ),
    "enum": _value, "const": _value, "pattern": pattern, "format": _format, "default": _default,
    "examples": _examples, "uniqueItems": _is_true, "deprecated": _is_true,
}  # fmt: skip
"""Keywords whose values hold no schema."""
ONE: Final = frozenset({
    "items", "contains", "additionalProperties", "unevaluatedProperties", "unevaluatedItems", "propertyNames", "not",
    "if", "then", "else",
})  # fmt: skip
"""Keywords whose value is a schema."""
NAMED: Final = frozenset({"properties", "patternProperties", "dependentSchemas"})
SEVERAL: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
NOTES: Final = frozenset({"description", "default", "examples", "deprecated"})
"""What says something and asks for nothing; beside a `$ref` it stands for the definition's own."""


def fits(value: Any, kind: str) -> bool:
    """Whether a value is of a type of JSON Schema."""
    match kind:
        case "string":
            return isinstance(value, str)
        case "integer":
            return type(value) is int or (isinstance(value, float) and value.is_integer())
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "boolean":
            return isinstance(value, bool)
        case "array":
            return isinstance(value, list)
        case "object":
            return isinstance(value, dict)
        case _:
            return value is None
