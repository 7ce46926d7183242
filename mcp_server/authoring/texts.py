"""Texts → values: arguments of prompts and variables of templates, where whatever is typed is text."""

from collections.abc import Callable
from typing import Any, Final

import msgspec
from msgspec import inspect

from mcp_server.authoring import lenient
from mcp_server.authoring.errors import UnsupportedType

Read = Callable[[str], Any]
_TRUTHS: Final = {"yes": "true", "on": "true", "no": "false", "off": "false"}
"""What dialogs send for a ticked box, beside what msgspec reads."""
_SCALARS: Final = (
    inspect.AnyType, inspect.StrType, inspect.IntType, inspect.FloatType, inspect.BoolType, inspect.NoneType,
    inspect.BytesType, inspect.DateTimeType, inspect.DateType, inspect.TimeType, inspect.TimeDeltaType,
    inspect.UUIDType, inspect.DecimalType, inspect.EnumType, inspect.LiteralType,
)  # fmt: skip
_LISTS: Final = (inspect.ListType, inspect.SetType, inspect.FrozenSetType, inspect.VarTupleType)


def reader(hint: Any) -> Read:
    """What reads a text as this type; where the type is no text's, the text is JSON. Raises `ValidationError`."""
    info = inspect.type_info(hint)
    booleans = any(isinstance(one, inspect.BoolType) for one in _parts(info))
    json = None if all(isinstance(one, _SCALARS) for one in _parts(info)) else lenient.decoder(hint)

    def read(text: str) -> Any:
        try:
            return msgspec.convert(text, hint, strict=False)
        except msgspec.ValidationError:
            if booleans and text.lower() in _TRUTHS:
                return msgspec.convert(_TRUTHS[text.lower()], hint, strict=False)
            if json is None:
                raise
        return _from_json(text, json)

    return read


def takes_json(hint: Any) -> bool:
    """Whether a text of this type is JSON."""
    return not any(isinstance(one, _SCALARS) for one in _parts(inspect.type_info(hint)) if not _is_none(one))


def is_list(hint: Any) -> bool:
    """Whether a variable of this type is a list of texts; raises `UnsupportedType` for what no address can give."""
    parts = [one for one in _parts(inspect.type_info(hint)) if not _is_none(one)]
    lists = [one for one in parts if isinstance(one, _LISTS)]
    items = [inner for one in lists for inner in _parts(one.item_type)]
    if not all(isinstance(one, _SCALARS) for one in (*items, *(one for one in parts if one not in lists))):
        raise UnsupportedType("a variable is a text, a number, a truth value, a choice, a time or a list of those")
    if lists and len(parts) > 1:
        raise UnsupportedType("a variable is either a list or not")
    return bool(lists)


def _from_json(text: str, decode: Read) -> Any:
    try:
        return decode(text)
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, RecursionError) as error:
        raise msgspec.ValidationError(f"Expected JSON: {error}") from error


def _parts(info: Any) -> tuple[Any, ...]:
    """The alternatives of a type."""
    if isinstance(info, inspect.Metadata):
        return _parts(info.type)
    if isinstance(info, inspect.UnionType):
        return tuple(part for one in info.types for part in _parts(one))
    return (info,)


def _is_none(info: Any) -> bool:
    return isinstance(info, inspect.NoneType)
