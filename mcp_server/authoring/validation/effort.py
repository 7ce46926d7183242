"""How often a validator looks at a value: counted beforehand, for once begun it cannot be stopped.

A definition that is all of the next one twice costs 2^n for n of them, a recursive one with two alternatives 2^depth,
and the depth is the caller's. A validator walks every way to a schema; here each pair of a schema and a value is looked
at once, so counting costs no more than the two of them have parts.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from mcp_server.authoring.validation.uniqueness import Shapes
from mcp_server.authoring.validation.weights import Weights, alike

PREFIX: Final = "#/$defs/"
ENDLESS: Final = 10**9
SEVERAL: Final = ("allOf", "anyOf", "oneOf")
_ONE: Final = ("not", "if", "then", "else")
_UNEVALUATED: Final = ("unevaluatedProperties", "unevaluatedItems")
_AGAIN: Final = 3
"""How often what stands beside an `unevaluated…` is looked at: for itself, and for what it leaves over."""
_DEEPEST: Final = 100
"""Schemas within schemas that are followed: Python's own stack ends somewhere behind, wherever this is called from."""


class TooMuch(Exception):
    """A value would be looked at more often than is allowed."""


def fanout(schema: Any, definitions: Mapping[str, Any], known: dict[str, int] | None = None) -> int:
    """How often any one part of a value is looked at, at most; circles are followed once round.

    `known` has what other schemas with the same definitions came to.
    """
    try:
        return _Fanout(definitions, {} if known is None else known).of(schema, 0)
    except RecursionError:
        return ENDLESS


class _Fanout:
    def __init__(self, definitions: Mapping[str, Any], known: dict[str, int]) -> None:
        self._definitions, self._known = definitions, known

    def of(self, schema: Any, depth: int) -> int:
        if not isinstance(schema, dict):
            return 1
        if depth > _DEEPEST:
            return ENDLESS
        here = sum(self.of(one, depth + 1) for one in _in_place(schema)) + self._referred(schema, depth)
        if _leaves_over(schema):
            here *= _AGAIN
        below = sum(max((self.of(one, depth + 1) for one in ways), default=0) for ways in _below(schema))
        return min(max(1 + here, below), ENDLESS)

    def _referred(self, schema: dict[str, Any], depth: int) -> int:
        name = _name(schema)
        if name is None or name not in self._definitions:
            return 0
        if name not in self._known:
            self._known[name] = 1  # a circle: how often it goes round is the value's
            self._known[name] = self.of(self._definitions[name], depth + 1)
        return self._known[name]


def evaluations(schema: Any, value: Any, most: int, weights: Weights | None = None) -> int:
    """How often a validator looks at a value and its parts; raises `TooMuch`. `$defs` are those of the schema.

    With `weights` what costs more than a look counts for as many as it costs.
    """
    definitions = schema.get("$defs", {}) if isinstance(schema, dict) else {}
    try:
        return _Evaluations(definitions, most, weights).of(schema, value)
    except RecursionError:
        raise TooMuch from None


class _Evaluations:
    def __init__(self, definitions: Mapping[str, Any], most: int, weights: Weights | None) -> None:
        self._definitions, self._most, self._asked, self._weights = definitions, most, 0, weights
        self._shapes = Shapes()
        self._known: dict[tuple[int, int], int] = {}

    def of(self, schema: Any, value: Any) -> int:
        self._asked += 1
        if self._asked > self._most:  # a validator asks no less often, so it need not be summed up first
            raise TooMuch
        if not isinstance(schema, dict):
            return 1
        pair = id(schema), alike(value)
        if (known := self._known.get(pair)) is not None:
            return known
        self._known[pair] = 1  # a circle that leads to no part of the value ends at once
        here = sum(self.of(one, value) for one in _in_place(schema))
        if (name := _name(schema)) is not None:
            here += self.of(self._definitions.get(name, True), value)
        found = 1 + here * (_AGAIN if _leaves_over(schema) else 1)
        if self._weights is not None:
            found += self._weights.of(schema, value, self._shapes)
        for inner, part in _parts(schema, value):
            if found > self._most:  # at once: counting costs more than most of what is counted
                raise TooMuch
            found += self.of(inner, part)
        if found > self._most:
            raise TooMuch
        self._known[pair] = found
        return found


def is_recursive(definitions: Mapping[str, Any]) -> bool:
    """Whether definitions refer to each other in a circle."""
    refers = {name: _references(one) & definitions.keys() for name, one in definitions.items()}
    while leaves := [name for name, names in refers.items() if not names & refers.keys()]:
        for name in leaves:
            del refers[name]
    return bool(refers)


def _references(schema: Any) -> set[str]:
    found: set[str] = set()
    waiting = [schema]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            if (name := _name(one)) is not None:
                found.add(name)
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
    return found


def _name(schema: Mapping[str, Any]) -> str | None:
    ref = schema.get("$ref")
    return ref.removeprefix(PREFIX) if isinstance(ref, str) else None


def _leaves_over(schema: Mapping[str, Any]) -> bool:
    return any(name in schema for name in _UNEVALUATED)


def _in_place(schema: Mapping[str, Any]) -> Iterator[Any]:
    """The schemas that the same value is held against."""
    for name in SEVERAL:
        if isinstance(every := schema.get(name), list):
            yield from every
    yield from (schema[name] for name in _ONE if name in schema)
    if isinstance(named := schema.get("dependentSchemas"), dict):
        yield from named.values()


def _below(schema: Mapping[str, Any]) -> Iterator[list[Any]]:
    """The schemas that parts of the value are held against: of a list one at most is for any one part."""
    named = schema.get("properties")
    others = [schema[name] for name in ("additionalProperties",) if name in schema]
    yield [*(named.values() if isinstance(named, dict) else ()), *others]
    if isinstance(patterns := schema.get("patternProperties"), dict):
        yield from ([one] for one in patterns.values())
    first = schema.get("prefixItems")
    yield [*(first if isinstance(first, list) else ()), *(schema[name] for name in ("items",) if name in schema)]
    for name in ("contains", "propertyNames", *_UNEVALUATED):
        if name in schema:
            yield [schema[name]]


def _parts(schema: Mapping[str, Any], value: Any) -> Iterator[tuple[Any, Any]]:
    """What each part of a value is held against."""
    if isinstance(value, dict):
        named, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
        for name, inner in value.items():
            yield named.get(name, schema.get("additionalProperties", True)), inner
            yield from ((one, inner) for one in patterns.values())  # which of them match is not asked: at most all
            yield from ((schema[one], inner) for one in ("unevaluatedProperties",) if one in schema)
            yield from ((schema[one], name) for one in ("propertyNames",) if one in schema)
    elif isinstance(value, list):
        first = schema.get("prefixItems", [])
        for at, inner in enumerate(value):
            yield first[at] if at < len(first) else schema.get("items", True), inner
            yield from ((schema[name], inner) for name in ("contains", "unevaluatedItems") if name in schema)
