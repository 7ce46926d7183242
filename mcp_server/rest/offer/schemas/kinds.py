"""Which types a schema admits, and values read as those: a model that writes JSON into a text means what it wrote."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from mcp_server.rest.model import REF, Schema
from mcp_server.rest.offer.schemas.keywords import fits

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
        name = str(ref).removeprefix(REF)
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


def read_as(value: Any, schema: Schema, definitions: Mapping[str, Schema]) -> Any:
    """The value with texts read as the JSON that is wanted in their places; what does not fit stays, to be refused."""
    return _Reading(definitions).of(value, schema, 0)


class _Reading:
    """One value while it is read: each schema is looked into once, however many items are held against it."""

    def __init__(self, definitions: Mapping[str, Schema]) -> None:
        self._definitions = definitions
        self._kinds: dict[int, Kinds] = {}
        self._named: dict[int, dict[str, Schema]] = {}

    def of(self, value: Any, schema: Schema, depth: int) -> Any:
        if depth > _DEEPEST:
            return value
        if isinstance(value, str):
            wanted = self._wanted(schema)
            value = value if "string" in wanted else _from_text(value, wanted)
        if isinstance(value, dict):
            members = self._members(schema)
            return {
                name: self.of(inner, members[name], depth + 1) if name in members else inner
                for name, inner in value.items()
            }
        if isinstance(value, list):
            items = _found(schema, self._definitions).get("items", True)
            return [self.of(inner, items, depth + 1) for inner in value]
        return value

    def _wanted(self, schema: Schema) -> Kinds:
        if id(schema) not in self._kinds:
            self._kinds[id(schema)] = kinds(schema, self._definitions)
        return self._kinds[id(schema)]

    def _members(self, schema: Schema) -> dict[str, Schema]:
        if id(schema) not in self._named:
            self._named[id(schema)] = _members(schema, self._definitions)
        return self._named[id(schema)]


def _from_text(text: str, wanted: Kinds) -> Any:
    try:
        read = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return text
    return read if any(fits(read, kind) for kind in wanted) else text


def _found(schema: Schema, definitions: Mapping[str, Schema]) -> dict[str, Any]:
    for _ in range(_DEEPEST):
        if isinstance(schema, dict) and "$ref" in schema:
            schema = definitions.get(str(schema["$ref"]).removeprefix(REF), True)
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
