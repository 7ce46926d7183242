"""JSON types: which types have a JSON form; others are refused by name, with what to write instead."""

import typing
from collections.abc import Iterator
from typing import Annotated, Any, Final

import msgspec
from msgspec import inspect

from mcp_server.authoring import constraints
from mcp_server.authoring.errors import UnsupportedType

_INSTEAD: Final = {
    "pathlib": "str, and judge yourself which paths a caller may name",
    "pydantic": "str or another plain type, with msgspec.Meta",
    "complex": "two numbers",
    "object": "Any, or the type that is meant",
    "collections.abc": "list, tuple, set or dict",
    "mcp_server": "ctx: Context, alone",
}
_PYDANTIC_MODEL: Final = "__pydantic_core_schema__"


def check(hint: Any) -> None:
    """Raise `UnsupportedType` for a type without a JSON form, by the name of the part that has none."""
    for inner in _reached(hint, {}):
        _check_fields(inner)
    try:
        unknown = next(_custom(inspect.type_info(hint), set()), None)
        if unknown is None:
            msgspec.json.schema_components([hint])
            msgspec.json.Decoder(hint)
    except (TypeError, NameError, AttributeError) as error:
        raise UnsupportedType(_first_line(error)) from error
    if unknown is not None:
        raise UnsupportedType(f"{_named(unknown)} is not served; use {_instead(unknown)}")


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _named(kind: Any) -> str:
    module = getattr(kind, "__module__", "builtins").removesuffix("._local")  # Python 3.13 has Path in pathlib._local
    name = getattr(kind, "__qualname__", str(kind))
    return name if module == "builtins" else f"{module}.{name}"


def _instead(kind: Any) -> str:
    if hasattr(kind, _PYDANTIC_MODEL):
        return "msgspec.Struct, a dataclass or a TypedDict"
    name = _named(kind)
    found = (text for start, text in _INSTEAD.items() if name == start or name.startswith(f"{start}."))
    return next(found, "a type with a JSON form, such as str, list, dict, msgspec.Struct, a dataclass or a TypedDict")


def _custom(info: Any, seen: set[int]) -> Iterator[Any]:
    """Every class that msgspec does not know; types may hold themselves."""
    if id(info) in seen:
        return
    seen.add(id(info))
    if isinstance(info, inspect.CustomType):
        yield info.cls
    elif isinstance(info, tuple):
        for one in info:
            yield from _custom(one, seen)
    elif isinstance(info, inspect.Type | inspect.Field):
        for name in info.__struct_fields__:
            yield from _custom(getattr(info, name), seen)


def fields_of(kind: Any) -> dict[str, Any]:
    """The fields of a Struct, dataclass, TypedDict or NamedTuple by their names in Python, with their types."""
    kind = typing.get_origin(kind) or kind
    known = isinstance(kind, type) and (
        hasattr(kind, "__struct_fields__")
        or hasattr(kind, "__dataclass_fields__")
        or typing.is_typeddict(kind)
        or (issubclass(kind, tuple) and hasattr(kind, "_fields"))
    )
    return typing.get_type_hints(kind, include_extras=True) if known else {}


def _reached(hint: Any, seen: dict[int, Any]) -> Iterator[Any]:
    """A type and all types inside it; `seen` holds them, so that no id stands for two."""
    if id(hint) in seen:
        return
    seen[id(hint)] = hint
    yield hint
    inner = typing.get_args(hint)[: 1 if typing.get_origin(hint) is Annotated else None]
    try:
        fields = fields_of(hint)
    except NameError as error:
        raise UnsupportedType(f"{_named(hint)}: {error}; import it where the module runs") from error
    for one in (*inner, *fields.values()):
        yield from _reached(one, seen)


def _check_fields(kind: Any) -> None:
    """A class's fields are msgspec's to read, which would pass over what pydantic or annotated-types say there."""
    for name, hint in fields_of(kind).items():
        if typing.get_origin(hint) is not Annotated:
            continue
        for extra in typing.get_args(hint)[1:]:
            if constraints.is_foreign(extra):
                said = f"{_named(kind)}.{name}: {_named(type(extra))}"
                raise UnsupportedType(f"{said} is not read in the fields of a class; use msgspec.Meta")
