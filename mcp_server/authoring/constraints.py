"""Constraints of pydantic and annotated-types → `msgspec.Meta`, which the schema shows and the decoder holds.

What cannot be held is refused by name: an author who wrote `ge=1` believes that the input is guarded. Neither library
is imported here; nobody can have written what belongs to a module that is not loaded.
"""

import functools
import operator
import re
import sys
import types
import typing
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from mcp_server.authoring.errors import UnsupportedType

UNIONS: Final = (typing.Union, types.UnionType)
_BOUNDS: Final = frozenset({"gt", "ge", "lt", "le", "multiple_of", "pattern", "min_length", "max_length"})
_CONSTRAINTS: Final = {
    "Gt": ("gt",), "Ge": ("ge",), "Lt": ("lt",), "Le": ("le",), "MultipleOf": ("multiple_of",),
    "MinLen": ("min_length",), "MaxLen": ("max_length",),
}  # fmt: skip
_INSTEAD: Final = "use msgspec.Meta, or judge it in the function"
_FIELD_MEMBERS: Final = frozenset({"annotation", "default", "default_factory", "description", "title", "examples"})
"""What of a pydantic `Field` has a meaning here, beside its constraints."""


class Described(msgspec.Struct, frozen=True):
    """A type with its constraints as `Meta`, and what its author said of it."""

    hint: Any
    description: str | None = None


def honoured(hint: Any) -> Described:
    """The type as msgspec reads it; raises `UnsupportedType` for what stands in `Annotated` and cannot be held."""
    if typing.get_origin(hint) is not Annotated:
        return Described(_inner(hint))
    base, *extras = typing.get_args(hint)
    described = honoured(base)
    found, description = described.hint, described.description
    for extra in extras:
        if isinstance(extra, str):
            description = extra
        elif isinstance(extra, Meta):
            found = Annotated[found, extra]
            description = extra.description or description
        elif (documented := getattr(extra, "documentation", None)) is not None:  # Doc of typing_extensions (PEP 727)
            description = documented
        elif is_field(extra):
            found, description = with_field(found, extra), extra.description or description
        else:
            found = _bounded(found, _bounds(extra))
    return Described(found, description)


def is_field(value: Any) -> bool:
    """Whether it is what pydantic's `Field(...)` returns."""
    module = sys.modules.get("pydantic.fields")
    return module is not None and isinstance(value, module.FieldInfo)


def is_foreign(extra: Any) -> bool:
    """Whether it belongs to a library whose constraints msgspec passes over."""
    return type(extra).__module__.partition(".")[0] in ("pydantic", "annotated_types")


def with_field(hint: Any, field: Any) -> Any:
    """The type held to a pydantic `Field`; raises `UnsupportedType` for what of it has no meaning here."""
    told = {name for name in type(field).__slots__ if not name.startswith("_")} - _FIELD_MEMBERS - {"metadata"}
    blank = type(field)()
    for name in sorted(told):
        if getattr(field, name) != getattr(blank, name):
            raise UnsupportedType(f"{name}= of pydantic's Field is not served; {_INSTEAD}")
    hint = _bounded(hint, {key: value for one in field.metadata for key, value in _bounds(one).items()})
    if field.title is not None or field.examples is not None:
        hint = Annotated[hint, Meta(title=field.title, examples=field.examples)]
    return hint


def _inner(hint: Any) -> Any:
    """The type with the constraints inside it honoured: `list[Annotated[int, Ge(1)]]`."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if not arguments or origin is typing.Literal:
        return hint
    inner = tuple(as_hint(one) if typing.get_origin(one) else one for one in arguments)
    if inner == arguments:
        return hint
    return functools.reduce(operator.or_, inner) if origin in UNIONS else origin[inner]


def as_hint(hint: Any) -> Any:
    """The type as msgspec reads it, what is said of it included; raises as `honoured` does."""
    described = honoured(hint)
    return with_description(described.hint, described.description)


def with_description(hint: Any, description: str | None) -> Any:
    """The type with a description, in its schema."""
    return Annotated[hint, Meta(description=description)] if description else hint


def _bounds(extra: Any) -> dict[str, Any]:
    """The bounds that an object in `Annotated` sets."""
    if extra is None:  # pydantic's conint() and its kin leave None for what was not told
        return {}
    if is_foreign(extra):
        if isinstance(extra, Iterable):  # Interval, Len, StringConstraints: groups of others
            return {key: value for one in extra for key, value in _bounds(one).items()}
        told = _CONSTRAINTS.get(type(extra).__name__)
        if told:
            return {key: getattr(extra, key) for key in told}
        return dict(_general(extra))
    raise UnsupportedType(f"{_name(extra)} in Annotated is not served; {_INSTEAD}")


def _general(extra: Any) -> Iterator[tuple[str, Any]]:
    """Pydantic's own: a pattern, or `strict`, which JSON is read by in any case."""
    for key, value in getattr(extra, "__dict__", {"": extra}).items():
        if value is None or (key == "strict" and value is True):
            continue
        if key not in _BOUNDS:
            name = f"{key}= in {type(extra).__name__}" if key else _name(extra)
            raise UnsupportedType(f"{name.replace(' in _PydanticGeneralMetadata', '')} is not served; {_INSTEAD}")
        yield key, value


def _bounded(hint: Any, bounds: dict[str, Any]) -> Any:
    """The type within bounds; those on `int | None` are the number's."""
    if not bounds:
        return hint
    if typing.get_origin(hint) in UNIONS:
        parts = [one if one is type(None) else _bounded(one, bounds) for one in typing.get_args(hint)]
        return functools.reduce(operator.or_, parts)
    try:
        return Annotated[hint, Meta(**bounds)]
    except (TypeError, ValueError, re.error) as error:  # a bound that is no number, a pattern that is none
        raise UnsupportedType(f"{', '.join(bounds)}: {error}") from error


def _name(extra: Any) -> str:
    kind = extra if isinstance(extra, type) else type(extra)
    return f"{kind.__module__}.{kind.__qualname__}"
