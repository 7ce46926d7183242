"""The cost of `uniqueItems`: a validator hashes each item with all that is in it, and numbers by their double.

Whole numbers beyond 2^53 that have one double fall together, and each is compared with each, as decimals: four thousand
of them, 80 kB, take a minute in which the interpreter runs nothing else.
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

LARGE: Final = 2**53
_PAIR: Final = 40
"""Two numbers compared, in evaluations."""
_HASHED: Final = 10
"""So many parts are hashed in the time of one evaluation."""


class Shape(msgspec.Struct, frozen=True):
    """A value as a validator hashes it: how many parts, how many large numbers, and what it falls together by."""

    parts: int
    large: int
    key: int


class Shapes:
    """The shapes of one value's parts, each looked at once however often lists in lists ask for it."""

    def __init__(self) -> None:
        self._known: dict[int, Shape] = {}

    def cost(self, items: list[Any]) -> int:
        """What it costs to find that no two of them are equal, in evaluations."""
        groups: dict[int, int] = {}
        parts = compared = 0
        for one in map(self._of, items):
            parts += one.parts
            if one.large:
                compared += one.large * (before := groups.get(one.key, 0))
                groups[one.key] = before + 1
        return parts // _HASHED + _PAIR * compared

    def _of(self, value: Any) -> Shape:
        if not isinstance(value, dict | list):
            large = is_large(value)
            return Shape(1, int(large), hash(_double(value) if large else value))
        if (found := self._known.get(id(value))) is None:
            found = self._known[id(value)] = self._made(value)
        return found

    def _made(self, value: dict[str, Any] | list[Any]) -> Shape:
        inner = [self._of(one) for one in (value.values() if isinstance(value, dict) else value)]
        keys: Any = tuple(one.key for one in inner)
        if isinstance(value, dict):
            keys = frozenset(zip(value, keys, strict=True))
        return Shape(1 + sum(one.parts for one in inner), sum(one.large for one in inner), hash(keys))


def is_large(value: Any) -> bool:
    """Whether it is a whole number that shares its double with others."""
    return isinstance(value, int) and not -LARGE <= value <= LARGE


def has_many(value: Any, most: int) -> bool:
    """Whether there are more large numbers than so many in a value."""
    return any(number > most for number, _ in enumerate(_large(value), 1))


def _large(value: Any) -> Iterator[Any]:
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
        elif is_large(one):
            yield one


def _double(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf")
