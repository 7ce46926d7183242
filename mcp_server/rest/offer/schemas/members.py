"""The members of an object by whatever its schema is composed of: which there are, and the same schema without some."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from mcp_server.authoring.validation.effort import SEVERAL
from mcp_server.rest.model import REF, Schema

MOST: Final = 300
"""Schemas that are written out to leave a member out of them; what refers to more is not taken apart."""
_CONDITIONS: Final = ("if", "then", "else")
_WHOLE: Final = (*_CONDITIONS, "not", "enum", "const", "minProperties", "dependentRequired", "dependentSchemas")
"""What says something of the whole object: it would refuse one that is still without the member."""


class TooComposed(Exception):
    """A schema is composed of more than is written out."""


class Found(msgspec.Struct, kw_only=True):
    """The members of an object, and those of them that some schema requires."""

    names: dict[str, Schema] = msgspec.field(default_factory=dict)
    required: set[str] = msgspec.field(default_factory=set)


def members(schema: Schema, definitions: Mapping[str, Schema]) -> Found:
    """The members that an object may have by any of the schemas that it is held against; each is looked into once."""
    found, seen, waiting = Found(), set[int](), [schema]
    while waiting:
        one = waiting.pop()
        if not isinstance(one, dict) or id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(properties := one.get("properties"), dict):
            for name, inner in properties.items():
                found.names.setdefault(name, inner)
        if isinstance(required := one.get("required"), list):
            found.required |= {name for name in required if isinstance(name, str)}
        waiting += reversed(list(_in_place(one, definitions)))
    return found


def _in_place(schema: dict[str, Any], definitions: Mapping[str, Schema]) -> Iterator[Schema]:
    if isinstance(ref := schema.get("$ref"), str):
        yield definitions.get(ref.removeprefix(REF), True)
    for name in SEVERAL:
        if isinstance(every := schema.get(name), list):
            yield from every
    yield from (schema[name] for name in ("then", "else") if name in schema)
    if isinstance(named := schema.get("dependentSchemas"), dict):
        yield from named.values()


def without(schema: Schema, names: frozenset[str], definitions: Mapping[str, Schema]) -> Schema:
    """The schema of an object that has none of these members; raises `TooComposed`.

    What refers to a definition that has one is written out, for others refer to that definition, too.
    """
    return _Without(names, definitions).of(schema, ())


class _Without:
    def __init__(self, names: frozenset[str], definitions: Mapping[str, Schema]) -> None:
        self._names, self._definitions, self._left = names, definitions, MOST

    def of(self, schema: Schema, within: tuple[int, ...]) -> Schema:
        if not isinstance(schema, dict) or not self._has(schema):
            return schema
        self._left -= 1
        if self._left < 0 or id(schema) in within:
            raise TooComposed
        within = (*within, id(schema))
        kept: dict[str, Any] = {name: value for name, value in schema.items() if name not in ("$ref", *_WHOLE)}
        if isinstance(properties := kept.get("properties"), dict):
            kept["properties"] = {name: inner for name, inner in properties.items() if name not in self._names}
        if isinstance(required := kept.get("required"), list):
            kept["required"] = [name for name in required if name not in self._names]
            if not kept["required"]:
                del kept["required"]
        for keyword in SEVERAL:
            if isinstance(every := kept.get(keyword), list):
                kept[keyword] = [self.of(one, within) for one in every]
        return self._with_target(kept, schema.get("$ref"), within)

    def _with_target(self, kept: dict[str, Any], ref: Any, within: tuple[int, ...]) -> Schema:
        if not isinstance(ref, str):
            return kept
        target = self.of(self._definitions.get(ref.removeprefix(REF), True), within)
        if not kept:
            return target
        return {**kept, "allOf": [*kept.get("allOf", ()), target]}

    def _has(self, schema: Schema) -> bool:
        found = members(schema, self._definitions)
        return not self._names.isdisjoint(found.names.keys() | found.required)
