"""The cost model of keywords whose price is not the number of schemas: lists of numbers, patterns, long `required`.

One evaluation is a fifth of a microsecond. The validator compares numbers as decimals and objects member by member, so
an `enum` of 24 halves asked of 10,000 items is 0.4 s in which the interpreter runs nothing else; and a pattern with
look-around is tried at each place of a text anew.
"""

import functools
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from mcp_server.authoring.validation.uniqueness import Shapes

BACKTRACKS: Final = 2_000
"""How often a pattern that backtracks may do so for one text; the search is then given up, and nothing was found."""
_COMPARED: Final = 8
_DIVIDED: Final = 16
_DIVIDED_LARGE: Final = 600
"""And as much again for each 1,200 bits of a number: the two are brought to one fraction."""
_SEARCHED: Final = 1_000
_NAMES: Final = 8
"""So many names of `required` are looked up in the time of one evaluation."""
_LARGE: Final = 2**53
_WORD: Final = 2**63
_MANY_STATES: Final = 8
_ONE: Final = re.compile(r"\\.|\[(?>(?:\\.|[^\]\\])*)\]", re.DOTALL)
"""What stands for one character, and may have in it what else would repeat."""
_COUNTED: Final = re.compile(r"\{(\d+)(?:,(\d*))?\}")
_VARYING: Final = re.compile(r"[*+]|(?<!\()\?|\{\d+,\d*\}")
_CHOICE: Final = re.compile(r"\((?:\?:)?[^()|*+?{}](?>(?:\|[^()|*+?{}])*)\)")
_LAST: Final = re.compile(r"\{(\d+),\d*\}$")
_LOOKAHEADS: Final = ("(?=", "(?!")


class Weights:
    """What the keywords of each schema cost beside the schemas in them; read once, for schemas that do not change."""

    def __init__(self, schema: Any) -> None:
        self._of: dict[int, _Weight] = {}
        waiting = [schema]
        while waiting:
            one = waiting.pop()
            if isinstance(one, dict):
                if weight := _weight(one):
                    self._of[id(one)] = weight
                waiting += one.values()
            elif isinstance(one, list):
                waiting += one

    def __bool__(self) -> bool:
        return bool(self._of)

    @property
    def unique_alone(self) -> bool:
        """Whether no keyword costs but `uniqueItems`, which does so for some values alone."""
        return all(one == _UNIQUE for one in self._of.values())

    @property
    def unique(self) -> bool:
        """Whether some list has to be without equals."""
        return any(one.unique for one in self._of.values())

    def of(self, schema: dict[str, Any], value: Any, shapes: Shapes) -> int:
        """What one schema's own keywords cost for one value, none of its parts'; `shapes` are of the whole value."""
        weight = self._of.get(id(schema))
        if weight is None:
            return 0
        return weight.of(value) + (shapes.cost(value) if weight.unique and isinstance(value, list) else 0)


def alike(value: Any) -> int:
    """A number that is the same for values that cost the same: of lists and objects each its own."""
    if isinstance(value, dict | list):
        return id(value)
    if isinstance(value, str):
        return -3 - len(value)
    if isinstance(value, bool) or value is None:
        return 0
    if _is_large(value):
        return id(value)
    return -2 if isinstance(value, float) else -1


class _Weight(msgspec.Struct, frozen=True, kw_only=True):
    whole: int = 0
    """What it costs to compare a whole number, likewise one with a fraction, and a list or an object."""
    floats: int = 0
    containers: int = 0
    divisor: float | None = None
    names: int = 0
    pattern: str | None = None
    keys: tuple[str, ...] = ()
    """The patterns that each name of an object is held against."""
    unique: bool = False

    def of(self, value: Any) -> int:
        if isinstance(value, str):
            return 0 if self.pattern is None else search(self.pattern, len(value))
        if isinstance(value, dict):
            return self.containers + self.names + sum(search(one, len(name)) for one in self.keys for name in value)
        if isinstance(value, list):
            return self.containers
        if isinstance(value, bool) or value is None:
            return 0
        compared = self.floats if isinstance(value, float) else self.whole
        return compared + (0 if self.divisor is None else _division(value, self.divisor))


_NOTHING: Final = _Weight()
_UNIQUE: Final = _Weight(unique=True)


def _weight(schema: Mapping[str, Any]) -> _Weight | None:
    choices = schema.get("enum")
    compared = [*(choices if isinstance(choices, list) else ()), *([schema["const"]] if "const" in schema else ())]
    required, dependent = schema.get("required"), schema.get("dependentRequired")
    divisor, numbers = schema.get("multipleOf"), _COMPARED * sum(map(_is_number, compared))
    names = len(required) if isinstance(required, list) else 0
    names += sum(len(one) + 1 for one in dependent.values()) if isinstance(dependent, dict) else 0
    pattern, keys = schema.get("pattern"), schema.get("patternProperties")
    found = _Weight(
        whole=0 if all(map(_is_plain, compared)) else numbers,
        floats=numbers,
        containers=_COMPARED * sum(_parts(one) for one in compared if isinstance(one, dict | list)),
        divisor=divisor if _is_number(divisor) else None,
        names=names // _NAMES,
        pattern=pattern if isinstance(pattern, str) and _is_costly(pattern) else None,
        keys=tuple(one for one in keys if _is_costly(one)) if isinstance(keys, dict) else (),
        unique=schema.get("uniqueItems") is True,
    )
    return None if found == _NOTHING else found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_plain(value: Any) -> bool:
    """What a validator finds in a list by its hash, or passes over: texts, and whole numbers of 64 bits."""
    return not isinstance(value, float) and (not isinstance(value, int) or -_WORD <= value < _WORD)


def _is_large(value: float) -> bool:
    return not -_LARGE <= value <= _LARGE or 0 < abs(value) < 1 / _LARGE


def _division(value: float, divisor: float) -> int:
    if isinstance(value, int) and isinstance(divisor, int) and -_WORD <= value < _WORD:
        return 0
    bits = value.bit_length() if isinstance(value, int) else 0
    return _DIVIDED_LARGE + bits // 2 if _is_large(value) or _is_large(divisor) else _DIVIDED


def _parts(value: Any) -> int:
    inner: Iterable[Any] = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(_parts, inner))


@functools.lru_cache(4_096)
def _is_costly(pattern: str) -> bool:
    return not _is_led(pattern) or _states(pattern) > _MANY_STATES


def search(pattern: str, length: int) -> int:
    """What it costs to look for a pattern in a text of a length."""
    if not _is_led(pattern):
        return min(20 * length, _SEARCHED) + length * min(length, BACKTRACKS) // 100
    states = _states(pattern)
    return length * min(states, length) // 24 if states > _MANY_STATES else 0


@functools.lru_cache(4_096)
def _is_led(pattern: str) -> bool:
    r"""Whether a pattern is searched for in one go, or has look-ahead at the text's beginning alone.

    `^(?!\s*$).+` looks ahead once; without the anchor, or within a repetition, it would do so at every place.
    """
    if _is_regular(pattern):
        return True
    if not pattern.startswith("^"):
        return False
    rest = pattern[1:]
    while rest.startswith(_LOOKAHEADS):
        end = _closing(rest)
        if not _is_regular(rest[3:end]):
            return False
        rest = rest[end + 1 :]
    return rest[:1] not in ("*", "+", "?", "{") and _closing(f"({rest})", bars=True) == 0 and _is_regular(rest)


@functools.lru_cache(4_096)
def _is_regular(pattern: str) -> bool:
    """Whether a pattern needs neither look-around nor back-references, nor anything else but a finite automaton."""
    if "\\b" in pattern.lower():  # where words end is looked around for, beside what needs it
        return False
    import jsonschema_rs  # noqa: PLC0415 - 8 MB that most servers have no use for

    try:
        jsonschema_rs.Draft202012Validator({"pattern": pattern}, pattern_options=jsonschema_rs.RegexOptions())
    except (ValueError, UnicodeEncodeError):
        return False
    return True


def _closing(pattern: str, *, bars: bool = False) -> int:
    """Where the group ends that a pattern begins with; with `bars` the first `|` right within it, else 0."""
    depth, within, at = 0, False, 0
    while at < len(pattern):
        one = pattern[at]
        if one == "\\":
            at += 1
        elif within:
            within = one != "]"
        elif one == "[":
            within = True
        elif one == "|" and bars and depth == 1:
            return at
        elif one in "()":
            depth += 1 if one == "(" else -1
            if depth == 0:
                return 0 if bars else at
        at += 1
    return len(pattern)


@functools.lru_cache(4_096)
def _states(pattern: str) -> int:
    """How many states of a pattern's automaton may be there at once, about: a table of their sets outgrows its cache.

    What begins at the beginning is in one of them, until a repetition that may be longer or shorter is over. One that
    a pattern ends with is over when it could be.
    """
    plain = _LAST.sub(r"{\1}", _CHOICE.sub("x", _ONE.sub("x", pattern)))
    grouped = "){" in plain
    if plain.startswith("^") and not (grouped and "|" in plain):
        varying = _VARYING.search(plain)
        if varying is None:
            return 0
        plain = plain if grouped else plain[varying.end() :]
    counts = [int(most or least) for least, most in _COUNTED.findall(plain)]
    if not grouped:
        return sum(counts)
    found = 1
    for one in counts:
        found = min(found * max(one, 1), 10**6)
    return found
