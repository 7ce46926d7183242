"""`x-mcp-header`: parameters that a client repeats as `Mcp-Param-*` (2026-07-28 transports §Schema Extension)."""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from mcp_server.protocol import errors, headers
from mcp_server.protocol.errors import RpcError

KEYWORD: Final = "x-mcp-header"
PREFIX: Final = b"mcp-param-"
MAX_INTEGER: Final = 2**53 - 1
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TYPES: Final = frozenset({"integer", "string", "boolean"})


class BadAnnotation(ValueError):
    """An annotation that makes clients drop the tool; raised at registration."""


class ParamHeader(msgspec.Struct, frozen=True):
    """A parameter, by its path of property names, and the header that repeats it."""

    path: tuple[str, ...]
    header: bytes


def find(schema: Mapping[str, Any]) -> tuple[ParamHeader, ...]:
    """Every annotated property of an input schema; raises `BadAnnotation` for one that must not be annotated.

    Only properties reached by a chain of `properties` count: one inside `items`, `anyOf`, `$ref` and the like is an
    error, and so is a repeated header name, for names of headers know no case.
    """
    found = tuple(_walk(schema, ()))
    names = [one.header for one in found]
    if len(set(names)) != len(names):
        raise BadAnnotation(f"{KEYWORD}: two parameters name the same header")
    if _count(schema) != len(found):
        raise BadAnnotation(f"{KEYWORD} stands where no chain of properties leads")
    return found


def _walk(schema: Mapping[str, Any], path: tuple[str, ...]) -> list[ParamHeader]:
    found: list[ParamHeader] = []
    properties = schema.get("properties")  # a schema may come from a document, and be none
    for name, inner in properties.items() if isinstance(properties, Mapping) else ():
        if not isinstance(inner, Mapping):
            continue
        if KEYWORD in inner:
            found.append(ParamHeader((*path, name), _header(inner)))
        found += _walk(inner, (*path, name))
    return found


def _header(schema: Mapping[str, Any]) -> bytes:
    name = schema[KEYWORD]
    if not isinstance(name, str) or not _TOKEN.fullmatch(name):
        raise BadAnnotation(f"{KEYWORD}: {name!r} is no token (RFC 9110 §5.6.2)")
    kind = schema.get("type")
    if not isinstance(kind, str) or kind not in _TYPES:
        raise BadAnnotation(f"{KEYWORD}: an integer, string or boolean, with a default instead of None")
    return PREFIX + name.lower().encode("ascii")


def _count(value: Any) -> int:
    if isinstance(value, Mapping):
        own = 1 if KEYWORD in value and not isinstance(value[KEYWORD], Mapping) else 0
        return own + sum(_count(inner) for inner in value.values())
    if isinstance(value, list):
        return sum(_count(inner) for inner in value)
    return 0


def check(
    declared: tuple[ParamHeader, ...], fields: Mapping[bytes, bytes], arguments: Any, repeated: Any = frozenset()
) -> RpcError | None:
    """Each annotated argument against its header; `arguments` is the decoded JSON."""
    for one in declared:
        if one.header in repeated:
            return errors.header_mismatch("a header of the transport is repeated")
        refused = _compare(_at(arguments, one.path), fields.get(one.header), one)
        if refused is not None:
            return refused
    return None


def _at(value: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def _compare(value: Any, given: bytes | None, declared: ParamHeader) -> RpcError | None:
    name = declared.header.decode("ascii")
    if value is None:
        return None if given is None else errors.header_mismatch(f"{name} repeats no argument")
    if given is None:
        return errors.header_mismatch(f"{name} is missing")
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        return errors.header_mismatch(f"{name} repeats a number that not every reader reads alike")
    try:
        text = headers.decode_value(given)
    except headers.Undecodable as error:
        return errors.header_mismatch(str(error))
    return None if _same(value, text) else errors.header_mismatch(f"{name} is not the argument of the body")


def _same(value: Any, text: str) -> bool:
    if isinstance(value, bool):
        return text == ("true" if value else "false")
    if isinstance(value, int | float):
        return _number(text) == value
    return isinstance(value, str) and text == value


def _number(text: str) -> int | float | None:
    """A JSON number of a length that no integer in range exceeds; None for anything else."""
    try:
        found = msgspec.json.decode(text.encode("ascii"), type=int | float) if len(text) <= 32 else None
    except (msgspec.DecodeError, UnicodeEncodeError):
        return None
    return found
