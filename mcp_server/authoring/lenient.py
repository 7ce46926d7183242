"""Lenient decoding: JSON that means what a type says and that msgspec's strict reading refuses.

JSON Schema counts any number without a fraction as an integer (2020-12 validation §6.1.1), and our schemas say
"integer"; HTML forms send times without seconds. The strict decoder goes first, so that what needs no leniency pays
nothing; only what it refuses is read again, and only where the type has such a part.
"""

import re
from collections.abc import Callable
from typing import Any, Final

import msgspec
from msgspec import Raw, inspect

from mcp_server.nesting import too_deep

LARGEST: Final = 2**53
"""Beyond it a number written with a fraction may already have been rounded (RFC 7493 §2.2): an id is never guessed."""
_MINUTES: Final = re.compile(r"(\d{4}-\d\d-\d\dT)?\d\d:\d\d")
_LISTS: Final = (inspect.ListType, inspect.SetType, inspect.FrozenSetType, inspect.VarTupleType)
_OBJECTS: Final = (inspect.StructType, inspect.DataclassType, inspect.TypedDictType)
_TIMES: Final = (inspect.DateTimeType, inspect.TimeType)
_UNTEXTED: Final = (
    inspect.IntType, inspect.FloatType, inspect.BoolType, inspect.NoneType, inspect.TupleType, inspect.NamedTupleType,
    inspect.DictType, *_LISTS, *_OBJECTS,
)  # fmt: skip
_DUMMY: Final = "random_string"
"""What Cursor sends to tools that take nothing. Another name may mean something (`dry_run`), and is refused."""
Decode = Callable[[Any], Any]


def decoder(kind: Any) -> Decode:
    """A decoder of this type that is lenient where the type has whole numbers or times."""
    strict = msgspec.json.Decoder(kind).decode
    info = inspect.type_info(kind)
    if not concerned(info):
        return strict

    def decode(raw: Any) -> Any:
        try:
            return strict(raw)
        except msgspec.ValidationError:
            return strict(msgspec.json.encode(read_as(msgspec.json.decode(raw), info)))

    return decode


def concerned(info: Any, seen: set[int] | None = None) -> bool:
    """Whether leniency has anything to do in a type: told once, at registration."""
    seen = set() if seen is None else seen
    if id(info) in seen:
        return False
    seen.add(id(info))
    if isinstance(info, tuple):
        return any(concerned(one, seen) for one in info)
    if _whole(info) or isinstance(info, _TIMES):
        return True
    if isinstance(info, inspect.Type | inspect.Field):
        return any(concerned(getattr(info, name), seen) for name in info.__struct_fields__)
    return False


def read_as(value: Any, info: Any) -> Any:
    """The value with whole numbers and times as the type reads them; what does not fit stays, to be refused."""
    if isinstance(info, inspect.Metadata):
        return read_as(value, info.type)
    if isinstance(info, inspect.UnionType):
        return _read_as_one_of(value, info.types)
    if isinstance(value, float):
        return int(value) if _whole(info) and value.is_integer() and abs(value) <= LARGEST else value
    if isinstance(value, str):
        return f"{value}:00" if isinstance(info, _TIMES) and _MINUTES.fullmatch(value) else value
    if isinstance(value, list):
        return _read_list(value, info)
    return _read_object(value, info) if isinstance(value, dict) else value


def _whole(info: Any) -> bool:
    """Whether a type has whole numbers among its values."""
    if isinstance(info, inspect.LiteralType):
        return any(type(one) is int for one in info.values)
    if isinstance(info, inspect.EnumType):
        return any(isinstance(one.value, int) for one in info.cls)
    return isinstance(info, inspect.IntType)


def _read_as_one_of(value: Any, types: tuple[Any, ...]) -> Any:
    """By the part that takes such a value; 5.0 is a float already where a float may stand."""
    parts = [_bare(one) for one in types]
    if isinstance(value, float) and any(isinstance(one, inspect.FloatType) for one in parts):
        return value
    return next((read_as(value, one) for one in parts if _takes(value, one)), value)


def _takes(value: Any, info: Any) -> bool:
    """Whether a part of a union is the one for this value: msgspec has one at most of each kind, or tags."""
    if isinstance(value, float):
        return _whole(info)
    if isinstance(value, str):
        return isinstance(info, _TIMES)
    array = isinstance(info, (*_LISTS, inspect.TupleType, inspect.NamedTupleType)) or getattr(info, "array_like", False)
    if isinstance(value, list):
        return array
    return isinstance(info, (inspect.DictType, *_OBJECTS)) and not array and _tagged(value, info)


def _bare(info: Any) -> Any:
    return _bare(info.type) if isinstance(info, inspect.Metadata) else info


def _tagged(value: dict[str, Any], info: Any) -> bool:
    """Whether an object may be of this type: a tagged Struct says so by its tag."""
    field = getattr(info, "tag_field", None)
    return field is None or value.get(field) == info.tag


def _read_list(value: list[Any], info: Any) -> Any:
    if isinstance(info, _LISTS):
        return [read_as(one, info.item_type) for one in value]
    kinds: tuple[Any, ...] = ()
    if isinstance(info, inspect.TupleType):
        kinds = info.item_types
    elif isinstance(info, inspect.NamedTupleType) or (isinstance(info, inspect.StructType) and info.array_like):
        kinds = tuple(one.type for one in info.fields)
    read = [read_as(one, kind) for one, kind in zip(value, kinds, strict=False)]
    return [*read, *value[len(read) :]]


def _read_object(value: dict[str, Any], info: Any) -> Any:
    if isinstance(info, inspect.DictType):
        return {key: read_as(one, info.value_type) for key, one in value.items()}
    if not isinstance(info, _OBJECTS):
        return value
    kinds = {one.encode_name: one.type for one in info.fields}
    return {key: read_as(one, kinds[key]) if key in kinds else one for key, one in value.items()}


def second_reading(kind: type[msgspec.Struct]) -> Decode | None:
    """How a call's arguments are read after the strict decoder refused them; None where that changes nothing.

    Null for what has a default is the default, and so is an empty text where no text may stand: some clients send them
    for what their user left empty. Others send lists, objects and numbers as JSON texts.
    """
    strict = msgspec.json.Decoder(kind).decode
    fields = getattr(inspect.type_info(kind), "fields", ())
    kinds = {one.encode_name: one.type for one in fields if concerned(one.type)}
    untexted = frozenset(one.encode_name for one in fields if not takes_text(one.type))
    absent = {
        one.encode_name: (b"null", b"null" if _takes_empty(one.type) else b'""')
        for one in msgspec.structs.fields(kind)
        if not one.required
    }
    if fields and not (kinds or absent or untexted):
        return None

    def decode(raw: Any) -> Any:
        given = _members(raw)
        if not fields:
            given.pop(_DUMMY, None)
        read = {name: _meant(one) if name in untexted else one for name, one in given.items()}
        told = {name: one for name, one in read.items() if bytes(one) not in absent.get(name, ())}
        changed = {name: read_as(msgspec.json.decode(told[name]), kinds[name]) for name in kinds.keys() & told}
        return strict(msgspec.json.encode({**told, **changed}))

    return decode


def takes_text(info: Any) -> bool:
    """Whether a text may stand for a value of this type: then it is never read as anything else."""
    if isinstance(info, inspect.Metadata):
        return takes_text(info.type)
    if isinstance(info, inspect.UnionType):
        return any(takes_text(one) for one in info.types)
    if isinstance(info, inspect.LiteralType):
        return any(isinstance(one, str) for one in info.values)
    if isinstance(info, inspect.EnumType):
        return any(isinstance(one.value, str) for one in info.cls)
    return not isinstance(info, _UNTEXTED)


def _takes_empty(hint: Any) -> bool:
    try:
        msgspec.convert("", hint)
    except msgspec.ValidationError:
        return False
    return True


def _meant(raw: Raw) -> Raw:
    """The JSON in a text that stands where none may; else the text, to be refused."""
    if bytes(memoryview(raw)[:1]) != b'"':
        return raw
    text = msgspec.json.decode(raw, type=str).strip().encode()
    if too_deep(text):  # what the message's own bound sees as one text
        raise RecursionError("nested too deeply")
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError:
        return raw
    return Raw(text)


_members: Final = msgspec.json.Decoder(dict[str, Raw]).decode
