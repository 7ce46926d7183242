"""Which types a schema admits, and values read as those: a model that writes JSON into a text means what it wrote."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from mcp_server.rest.model import Schema
from mcp_server.rest.offer.schemas.keywords import fits
from mcp_server.rest.offer.schemas.lean import PREFIX

_DEEPEST: Final = 8
Kinds = frozenset[str]
_ANY: Final[Kinds] = frozenset({"string", "number", "integer", "boolean", "array", "object", "null"})


def kinds(schema: Schema, definitions: Mapping[str, Schema], known: dict[str, Kinds] | None = None) -> Kinds:
    """The types that a schema may admit; all of them where it does not say. `known` has the definitions seen so far."""
    if not isinstance(schema, dict):
        return _ANY
    known = {} if known is None else known
    found = _ANY
    if (kind := schema.get("type")) is not None:
        found = frozenset([kind] if isinstance(kind, str) else kind)
    if (ref := schema.get("$ref")) is not None:
        name = str(ref).removeprefix(PREFIX)
        if name not in known:
            known[name] = _ANY  # a circle says nothing of its own
            known[name] = kinds(definitions.get(name, True), definitions, known)
        found &= known[name]
    for keyword in ("anyOf", "oneOf"):
        if branches := schema.get(keyword):
            found &= frozenset().union(*(kinds(one, definitions, known) for one in branches))
    for one in schema.get("allOf", ()):
        found &= kinds(one, definitions, known)
    return found


def read_as(value: Any, schema: Schema, definitions: Mapping[str, Schema], depth: int = 0) -> Any:
    """The value with texts read as the JSON that is wanted in their places; what does not fit stays, to be refused."""
    if depth > _DEEPEST:
        return value
    if isinstance(value, str):
        wanted = kinds(schema, definitions)
        value = value if "string" in wanted else _from_text(value, wanted)
    if isinstance(value, dict):
        members = _members(schema, definitions)
        return {
            name: read_as(inner, members[name], definitions, depth + 1) if name in members else inner
            for name, inner in value.items()
        }
    if isinstance(value, list):
        items = _found(schema, definitions).get("items", True)
        return [read_as(inner, items, definitions, depth + 1) for inner in value]
    return value


def _from_text(text: str, wanted: Kinds) -> Any:
    try:
        read = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return text
    return read if any(fits(read, kind) for kind in wanted) else text


def _found(schema: Schema, definitions: Mapping[str, Schema]) -> dict[str, Any]:
    for _ in range(_DEEPEST):
        if isinstance(schema, dict) and "$ref" in schema:
            schema = definitions.get(str(schema["$ref"]).removeprefix(PREFIX), True)
    return schema if isinstance(schema, dict) else {}


def _members(schema: Schema, definitions: Mapping[str, Schema], seen: set[int] | None = None) -> dict[str, Schema]:
    """The properties that a value may have by any of the alternatives; each schema is looked into once."""
    found, seen = _found(schema, definitions), set[int]() if seen is None else seen
    if id(found) in seen:
        return {}
    seen.add(id(found))
    members: dict[str, Schema] = {}
    for one in (*found.get("allOf", ()), *found.get("anyOf", ()), *found.get("oneOf", ())):
        members |= _members(one, definitions, seen)
    members |= found.get("properties", {})
    return members
