"""RFC 6570 templates: parsed once, matched in linear time, expanded.

Matching has no regular expression and never goes back: a variable ends where the literal after it first occurs. So a
hostile URI costs its length and no more, and two variables with nothing between them are refused at registration.
"""

import itertools
from collections.abc import Collection, Mapping
from typing import Final
from urllib.parse import quote, unquote

import msgspec

from mcp_server.registry.addresses.path_safety import MAX_URI, is_escaped, unescaped

_RESERVED: Final = ":/?#[]@!$&'()*+,;="
_UNRESERVED: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~%")
_NAME: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.")


Value = str | list[str]


class BadTemplate(ValueError):
    """A template that cannot be read, or not be matched without guessing."""


class _Operator(msgspec.Struct, frozen=True):
    first: str
    separator: str
    named: bool
    reserved: bool


_OPERATORS: Final = {
    "": _Operator("", ",", named=False, reserved=False),
    "+": _Operator("", ",", named=False, reserved=True),
    "#": _Operator("#", ",", named=False, reserved=True),
    ".": _Operator(".", ".", named=False, reserved=False),
    "/": _Operator("/", "/", named=False, reserved=False),
    ";": _Operator(";", ";", named=True, reserved=False),
    "?": _Operator("?", "&", named=True, reserved=False),
    "&": _Operator("&", "&", named=True, reserved=False),
}


class _Variable(msgspec.Struct, frozen=True):
    name: str
    explode: bool = False
    prefix: int = 0


class _Expression(msgspec.Struct, frozen=True):
    operator: _Operator
    variables: tuple[_Variable, ...]


class UriTemplate:
    """A template such as `orders://{id}` or `file:///{+path}{?page}`; raises `BadTemplate`.

    `lists` names the variables whose value is a list (RFC 6570 §2.4.2), of text between commas or, exploded, between
    the expression's separators.
    """

    def __init__(self, text: str, lists: Collection[str] = ()) -> None:
        self.text = text
        self._lists = frozenset(lists)
        parts = _parse(text)
        self._plain = all(is_escaped(part) for part in parts if isinstance(part, str))
        """Whether an address has one spelling for it, with no letter escaped."""
        self._parts = tuple(unescaped(part) if self._plain and isinstance(part, str) else part for part in parts)
        self.names = tuple(v.name for p in self._parts if isinstance(p, _Expression) for v in p.variables)
        if len(set(self.names)) != len(self.names):
            raise BadTemplate(f"{text}: a variable is repeated")
        if not self.names:
            raise BadTemplate(f"{text}: no variable in it")
        _refuse_ambiguity(text, self._parts)
        for part in self._parts:
            if isinstance(part, _Expression):
                _refuse_lists(text, part, self._lists)

    @property
    def relative(self) -> frozenset[str]:
        """The variables whose values stand within a path: all but those of query and fragment.

        `file:///{+path}` gives a path below something, `file://{+path}` the whole of it.
        """
        before = ("", *self._parts)
        return frozenset(
            variable.name
            for left, part in itertools.pairwise(before)
            if isinstance(part, _Expression) and _is_relative(part.operator, left)
            for variable in part.variables
        )

    def match(self, uri: str) -> dict[str, Value] | None:
        """The variables of a URI, percent-decoded, or None where the template does not fit.

        An exploded variable that is no list is the text with its separators; one that expanded to nothing is left out.
        """
        if len(uri) > MAX_URI:
            return None
        found: dict[str, Value] = {}
        at = 0
        if self._plain:  # else who escapes a letter of a literal, or a name, would have another template's
            uri = unescaped(uri)
        for number, part in enumerate(self._parts):
            if isinstance(part, str):
                if not uri.startswith(part, at):
                    return None
                at += len(part)
                continue
            end = _end(uri, at, self._parts[number + 1 :])
            if end < 0 or not _read(part, uri[at:end], self._lists, found):
                return None
            at = end
        return found if at == len(uri) else None

    def expand(self, values: Mapping[str, Value]) -> str:
        """The URI with these values; a variable without one expands to nothing (RFC 6570 §3.2.1)."""
        return "".join(part if isinstance(part, str) else _expand(part, values) for part in self._parts)


def _is_relative(operator: _Operator, left: str | _Expression) -> bool:
    if operator.reserved:
        return not operator.first and isinstance(left, str) and left.endswith("/") and not left.endswith("://")
    return operator.first not in ("?", "&")


def _parse(text: str) -> tuple[str | _Expression, ...]:
    parts: list[str | _Expression] = []
    rest = text
    while rest:
        literal, brace, after = rest.partition("{")
        if "}" in literal:
            raise BadTemplate(f"{text}: a brace closes that was not opened")
        if literal:
            parts.append(literal)
        if not brace:
            break
        inside, closed, rest = after.partition("}")
        if not closed:
            raise BadTemplate(f"{text}: a brace is not closed")
        parts.append(_expression(text, inside))
    return tuple(parts)


def _expression(text: str, inside: str) -> _Expression:
    sign = inside[:1] if inside[:1] in _OPERATORS else ""
    names = inside.removeprefix(sign).split(",")
    return _Expression(_OPERATORS[sign], tuple(_variable(text, name) for name in names))


def _variable(text: str, spec: str) -> _Variable:
    name, colon, length = spec.partition(":")
    explode = name.endswith("*") and not colon
    name = name.removesuffix("*") if explode else name
    if not name or not _NAME.issuperset(name) or (colon and not (length.isdigit() and 0 < int(length) < 10_000)):
        raise BadTemplate(f"{text}: {spec!r} is no variable (RFC 6570 §2.3)")
    return _Variable(name, explode, int(length) if colon else 0)


def _refuse_ambiguity(text: str, parts: tuple[str | _Expression, ...]) -> None:
    for left, right in itertools.pairwise(parts):
        if isinstance(left, _Expression) and isinstance(right, _Expression) and not _starts_apart(left, right):
            raise BadTemplate(f"{text}: nothing tells where one variable ends and the next begins")


def _starts_apart(left: _Expression, right: _Expression) -> bool:
    """Whether the right expression opens with a character that the left one cannot hold.

    A reserved one can hold any, but in an address the first `?` opens the query and the first `#` the fragment
    (RFC 3986 §3.4, §3.5), so `{+path}{?page}` is read without guessing.
    """
    opens = right.operator.first
    if left.operator.reserved:
        return not left.operator.first and opens in ("?", "#")
    return bool(opens) and left.operator.first != opens


def _refuse_lists(text: str, expression: _Expression, lists: frozenset[str]) -> None:
    """Lists that no address could be split into, or whose prefix has no meaning (RFC 6570 §2.4.1)."""
    for variable in expression.variables:
        if variable.name not in lists:
            continue
        if variable.prefix:
            raise BadTemplate(f"{text}: {variable.name!r} is a list, which has no prefix (RFC 6570 §2.4.1)")
        if len(expression.variables) > 1 and not expression.operator.named:
            raise BadTemplate(f"{text}: nothing tells where the list {variable.name!r} ends; give it braces of its own")


def _end(uri: str, at: int, following: tuple[str | _Expression, ...]) -> int:
    """Where an expression that starts at `at` ends, or -1 where what must follow is not there."""
    if not following:
        return len(uri)
    after = following[0]
    if isinstance(after, str):
        return uri.find(after, at)
    begins = [part.operator.first for part in following if isinstance(part, _Expression)]
    literal = next((uri.find(part, at) for part in following if isinstance(part, str)), len(uri))
    found = [end for end in (*(uri.find(first, at) for first in begins if first), literal) if end >= 0]
    return min(found) if found else len(uri)


def _read(expression: _Expression, value: str, lists: frozenset[str], found: dict[str, Value]) -> bool:
    """Add an expression's variables to those found; False where the text is none of its expansions."""
    operator = expression.operator
    if not value:
        return True
    if not value.startswith(operator.first):
        return False
    pieces = _pieces(expression, value.removeprefix(operator.first), lists)
    if pieces is None:
        return False
    for variable, raws in pieces:
        listed = variable.name in lists
        allowed = _UNRESERVED if listed else _UNRESERVED.union(operator.separator)
        if not operator.reserved and not all(map(allowed.issuperset, raws)):
            return False
        if not all(map(_whole, raws)):
            return False
        decoded = [unquote(raw, errors="strict") for raw in raws]
        if variable.prefix and len(decoded[0]) > variable.prefix:
            return False  # no expansion is longer than its prefix (RFC 6570 §2.4.1)
        found[variable.name] = decoded if listed else decoded[0]
    return True


def _whole(raw: str) -> bool:
    """Whether each percent sign opens an octet and the octets are UTF-8."""
    for piece in raw.split("%")[1:]:
        if len(piece) < 2 or not all(c in "0123456789abcdefABCDEF" for c in piece[:2]):
            return False
    try:
        unquote(raw, errors="strict")
    except UnicodeDecodeError:
        return False
    return True


_Pieces = list[tuple[_Variable, list[str]]]
"""Variables with the parts of their values, still percent-encoded: one, or those of a list."""


def _pieces(expression: _Expression, value: str, lists: frozenset[str]) -> _Pieces | None:
    operator, variables = expression.operator, expression.variables
    if operator.named:
        return _named(expression, value, lists)
    if len(variables) == 1:
        only = variables[0]
        if only.name in lists:
            return [(only, value.split(operator.separator if only.explode else ","))]
        apart = operator.separator not in _UNRESERVED  # a dot stands in a value as it is (RFC 6570 §3.2.5)
        if apart and not only.explode and not operator.reserved and operator.separator in value:
            return None
        return [(only, [value])]
    values = value.split(operator.separator)
    if len(values) > len(variables):
        return None
    return [(variable, [raw]) for variable, raw in zip(variables, values, strict=False)]


def _named(expression: _Expression, value: str, lists: frozenset[str]) -> _Pieces | None:
    """`x=1&y=2`; an exploded list repeats its name (RFC 6570 §3.2.8), any other name stands once."""
    known = {variable.name: variable for variable in expression.variables}
    pieces: dict[str, list[str]] = {}
    for pair in value.split(expression.operator.separator):
        name, _, raw = pair.partition("=")
        if name not in known:
            return None
        listed, explode = name in lists, known[name].explode
        if name in pieces and not (listed and explode):
            return None
        pieces.setdefault(name, []).extend(raw.split(",") if listed and not explode else [raw])
    return [(known[name], raws) for name, raws in pieces.items()]


def _expand(expression: _Expression, values: Mapping[str, Value]) -> str:
    operator = expression.operator
    shown = [
        one
        for variable in expression.variables
        if values.get(variable.name) is not None
        for one in _expand_one(operator, variable, values[variable.name])
    ]
    return operator.first + operator.separator.join(shown) if shown else ""


def _expand_one(operator: _Operator, variable: _Variable, value: Value) -> list[str]:
    """One variable's parts between separators: an exploded list has one for each item, all others have one."""
    safe = (_RESERVED if operator.reserved else "") + "~"
    prefix = f"{variable.name}=" if operator.named else ""
    if isinstance(value, str):
        keep = safe + (operator.separator if variable.explode and not operator.named else "")
        return [prefix + quote(value[: variable.prefix] if variable.prefix else value, safe=keep)]
    encoded = [quote(one, safe=safe) for one in value]
    if variable.explode:
        return [prefix + one for one in encoded]
    return [prefix + ",".join(encoded)] if encoded else []
