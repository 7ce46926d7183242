"""How often a validator looks at a value: counted beforehand, for once begun it cannot be stopped.

A definition that is all of the next one twice costs 2^n for n of them, a recursive one with two alternatives 2^depth,
and the depth is the caller's. A validator walks every way to a schema; here each pair of a schema and a form of value
is looked at once, so counting costs no more than the two of them have parts, and is bounded itself.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

from mcp_server.authoring.validation.uniqueness import LARGE, Shapes
from mcp_server.authoring.validation.weights import Weights, alike

PREFIX: Final = "#/$defs/"
ENDLESS: Final = 10**9
SEVERAL: Final = ("allOf", "anyOf", "oneOf")
_ONE: Final = ("not", "if", "then", "else")
_UNEVALUATED: Final = ("unevaluatedProperties", "unevaluatedItems")
_AGAIN: Final = 3
"""How often what stands beside an `unevaluated…` is looked at: for itself, and for what it leaves over."""
COUNTED: Final = 100_000
"""How much may be counted, in a tenth of a second or so: counting one part takes longer than validating it."""
_LOOKED: Final = 3
"""What a pair that was not met before costs, beside one that was."""
_FIRST_FORM: Final = -(1 << 62)
"""Below all numbers of what is no list and no object."""
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
        self._definitions, self._most, self._weights = definitions, most, weights
        self._asked = self._spent = 0
        self._shapes, self._forms = Shapes(), _Forms()
        self._known: dict[tuple[int, int], int] = {}

    def of(self, schema: Any, value: Any) -> int:
        self._asked += 1
        self._spent += 1
        if self._asked > self._most or self._spent > COUNTED:  # a validator asks no less often
            raise TooMuch
        if not isinstance(schema, dict):
            return 1
        pair = id(schema), self._forms.of(value)
        if (known := self._known.get(pair)) is not None:
            return known
        self._spent += _LOOKED
        self._known[pair] = 1  # a circle that leads to no part of the value ends at once
        here = sum(self.of(one, value) for one in _in_place(schema))
        if (name := _name(schema)) is not None:
            here += self.of(self._definitions.get(name, True), value)
        found = 1 + here * (_AGAIN if _leaves_over(schema) else 1)
        if self._weights is not None:
            found += self._weights.of(schema, value, self._shapes)
        for inner, part, times in self._parts(schema, value):
            if found > self._most:  # at once: counting costs more than most of what is counted
                raise TooMuch
            found += times * self.of(inner, part)
        if found > self._most:
            raise TooMuch
        self._known[pair] = found
        return found

    def _parts(self, schema: Mapping[str, Any], value: Any) -> Iterator[tuple[Any, Any, int]]:
        """What each part of a value is held against, and how many parts of a list are so."""
        if isinstance(value, dict):
            yield from ((one, inner, 1) for one, inner in _members(schema, value))
        elif isinstance(value, list):
            first = schema.get("prefixItems", [])
            yield from ((one, inner, 1) for one, inner in zip(first, value, strict=False))
            for inner, times in self._forms.kinds(value, len(first)):
                yield schema.get("items", True), inner, times
            every = [schema[name] for name in ("contains", "unevaluatedItems") if name in schema]
            for inner, times in self._forms.kinds(value) if every else ():
                yield from ((one, inner, times) for one in every)


class _Forms:
    """Which parts of one value cost the same: a list of a hundred thousand objects has few kinds of them, as a rule."""

    def __init__(self) -> None:
        self._known: dict[int, int] = {}
        self._inner: dict[int, tuple[int, ...]] = {}
        self._numbers: dict[tuple[Any, tuple[int, ...]], int] = {}

    def of(self, value: Any) -> int:
        """A number that is the same for values that cost the same: of lists and objects by what is in them."""
        if not isinstance(value, dict | list):
            return alike(value)
        if (found := self._known.get(id(value))) is None:
            names = tuple(value) if isinstance(value, dict) else None
            inner = self._inner[id(value)] = self._each(list(value.values()) if isinstance(value, dict) else value)
            found = self._numbers.setdefault((names, inner), _FIRST_FORM - len(self._numbers))
            self._known[id(value)] = found
        return found

    def kinds(self, items: list[Any], start: int = 0) -> Iterator[tuple[Any, int]]:
        """One item of each form, and how many there are of it, from a place on."""
        self.of(items)
        forms = self._inner[id(items)][start:]
        yield from zip(dict(zip(forms, items[start:], strict=True)).values(), Counter(forms).values(), strict=True)

    def _each(self, items: list[Any]) -> tuple[int, ...]:
        """The forms of each; of many numbers at once, for a call of each takes ten times as long."""
        kinds = set(map(type, items))
        if kinds == {int} and min(items) >= -LARGE and max(items) <= LARGE:
            return (alike(0),) * len(items)
        return tuple(map(alike if kinds == {str} else self.of, items))


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


def _members(schema: Mapping[str, Any], value: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    named, others = schema.get("properties", {}), schema.get("additionalProperties", True)
    every = list(schema.get("patternProperties", {}).values())  # which of them match is not asked: at most all
    every += [schema[one] for one in ("unevaluatedProperties",) if one in schema]
    names = [schema[one] for one in ("propertyNames",) if one in schema]
    for name, inner in value.items():
        yield named.get(name, others), inner
        yield from ((one, inner) for one in every)
        yield from ((one, name) for one in names)
