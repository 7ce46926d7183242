"""RFC 6570 templates: parsed once, matched in linear time, expanded.

Matching has no regular expression and never goes back: a variable ends where the literal after it first occurs. So a
hostile URI costs its length and no more, and two variables with nothing between them are refused at registration.
"""

import itertools
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, unquote

import msgspec

MAX_URI: Final = 4096
_RESERVED: Final = ":/?#[]@!$&'()*+,;="
_UNRESERVED: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~%")
_NAME: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.")


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
    """A template such as `orders://{id}` or `file:///{+path}{?page}`; raises `BadTemplate`."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._parts = _parse(text)
        self.names = tuple(v.name for p in self._parts if isinstance(p, _Expression) for v in p.variables)
        if len(set(self.names)) != len(self.names):
            raise BadTemplate(f"{text}: a variable stands twice")
        if not self.names:
            raise BadTemplate(f"{text}: no variable in it")
        _refuse_ambiguity(text, self._parts)

    def match(self, uri: str) -> dict[str, str] | None:
        """The variables of a URI, percent-decoded, or None where the template does not fit.

        An exploded variable is the text between its separators; a variable that expanded to nothing is left out.
        """
        if len(uri) > MAX_URI:
            return None
        found: dict[str, str] = {}
        at = 0
        for number, part in enumerate(self._parts):
            if isinstance(part, str):
                if not uri.startswith(part, at):
                    return None
                at += len(part)
                continue
            end = _end(uri, at, self._parts[number + 1 :])
            if end < 0 or not _read(part, uri[at:end], found):
                return None
            at = end
        return found if at == len(uri) else None

    def expand(self, values: Mapping[str, str]) -> str:
        """The URI with these values; a variable without one expands to nothing (RFC 6570 §3.2.1)."""
        return "".join(part if isinstance(part, str) else _expand(part, values) for part in self._parts)


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
    """Whether the right expression opens with a character that the left one cannot hold."""
    return bool(right.operator.first) and not left.operator.reserved and left.operator.first != right.operator.first


def _end(uri: str, at: int, following: tuple[str | _Expression, ...]) -> int:
    """Where an expression that starts at `at` ends, or -1 where what must follow is not there."""
    if not following:
        return len(uri)
    after = following[0]
    if isinstance(after, str):
        return uri.find(after, at)
    ends = [uri.find(part.operator.first, at) for part in following if isinstance(part, _Expression)]
    literal = next((uri.find(part, at) for part in following if isinstance(part, str)), len(uri))
    found = [end for end in (*ends, literal) if end >= 0]
    return min(found) if found else len(uri)


def _read(expression: _Expression, value: str, found: dict[str, str]) -> bool:
    operator = expression.operator
    if not value:
        return True
    if not value.startswith(operator.first):
        return False
    value = value.removeprefix(operator.first)
    pieces = _pieces(expression, value)
    if pieces is None:
        return False
    for name, raw in pieces:
        if not operator.reserved and not _UNRESERVED.union(operator.separator).issuperset(raw):
            return False
        decoded = unquote(raw, errors="strict") if _whole(raw) else None
        if decoded is None:
            return False
        found[name] = decoded
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


def _pieces(expression: _Expression, value: str) -> list[tuple[str, str]] | None:
    operator, variables = expression.operator, expression.variables
    if operator.named:
        return _named(expression, value)
    if len(variables) == 1:
        only = variables[0]
        apart = operator.separator not in _UNRESERVED  # a dot stands in a value as it is (RFC 6570 §3.2.5)
        if apart and not only.explode and not operator.reserved and operator.separator in value:
            return None
        return [(only.name, value)]
    values = value.split(operator.separator)
    if len(values) > len(variables):
        return None
    return [(variable.name, raw) for variable, raw in zip(variables, values, strict=False)]


def _named(expression: _Expression, value: str) -> list[tuple[str, str]] | None:
    known = {variable.name for variable in expression.variables}
    pieces: dict[str, str] = {}
    for pair in value.split(expression.operator.separator):
        name, _, raw = pair.partition("=")
        if name not in known or name in pieces:
            return None
        pieces[name] = raw
    return list(pieces.items())


def _expand(expression: _Expression, values: Mapping[str, str]) -> str:
    operator = expression.operator
    safe = _RESERVED if operator.reserved else ""
    shown: list[str] = []
    for variable in expression.variables:
        value = values.get(variable.name)
        if value is None:
            continue
        keep = safe + (operator.separator if variable.explode and not operator.named else "")
        encoded = quote(value[: variable.prefix] if variable.prefix else value, safe=keep + "~")
        shown.append(f"{variable.name}={encoded}" if operator.named else encoded)
    return operator.first + operator.separator.join(shown) if shown else ""
