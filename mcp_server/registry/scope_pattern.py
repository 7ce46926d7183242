"""Parameterized scopes, `orders:refund:{order_id}`: parsed at registration, made with the values of a call.

A value comes from a caller, and the scope that is made of it is what a person is asked to allow. So a variable takes a
whole segment between colons, and what could end a segment, a scope, a header or a line never gets into one: a value is
percent-encoded, or refused. Two values make the same scope only when they are the same.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import quote

import msgspec

from mcp_server.authoring.errors import BadArguments

MAX_SCOPE: Final = 255
"""Characters of a scope: it stands in a header, in the query of a login and on a page of consent."""
_SCOPE_CHARACTERS: Final = frozenset(map(chr, range(0x21, 0x7F))) - set('"\\')
_EXAMPLE: Final = "orders:refund:{order_id}"
_VALUE: Final = re.compile(r"(?:[A-Za-z0-9._~-]|%[0-9A-F]{2})+")
"""What an encoded value may look like."""
_VARIABLE: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_.-]*)\}")


class ScopePattern(msgspec.Struct, frozen=True, kw_only=True):
    """A scope with variables. `base` is what stands before the first one: what is asked for where no values count.

    `names` has for each segment its variable, None for one that stands as it is.
    """

    text: str
    base: str
    segments: tuple[str, ...]
    names: tuple[str | None, ...]

    @property
    def variables(self) -> frozenset[str]:
        """The arguments whose values it takes."""
        return frozenset(name for name in self.names if name is not None)

    def made(self, values: Mapping[str, Any]) -> str:
        """The scope of these values; raises `BadArguments` for one that no scope may hold, `KeyError` for none."""
        parts = [
            one if name is None else _encoded(name, values[name])
            for one, name in zip(self.segments, self.names, strict=True)
        ]
        scope = ":".join(parts)
        if len(scope) > MAX_SCOPE:
            raise BadArguments(f"{', '.join(sorted(self.variables))}: too long for a scope")
        return scope

    def fits(self, scope: str, values: Mapping[str, Any] = MappingProxyType({})) -> bool:
        """Whether some values could make this scope, these among them; raises `BadArguments` as `made` does."""
        if not scope.startswith(self.base):  # of a token of hundreds of scopes nearly all
            return False
        found = scope.split(":")
        return len(found) == len(self.segments) and all(
            one == part if name is None else _may_be(part, name, values)
            for one, name, part in zip(self.segments, self.names, found, strict=True)
        )

    def begins_with(self, start: str) -> bool:
        """Whether some values could make a scope with this beginning, which ends with a colon."""
        return all(
            one == part or name is not None
            for one, name, part in zip(self.segments, self.names, start.split(":")[:-1], strict=False)
        )

    def settled(self, scope: str) -> "ScopePattern":
        """A scope that it fits, written out: the same for each call, and with the same base scope."""
        segments = tuple(scope.split(":"))
        return ScopePattern(text=scope, base=self.base, segments=segments, names=(None,) * len(segments))

    def confused_with(self, other: "ScopePattern") -> bool:
        """Whether both could make the same scope, and not because they are the same but for the names."""
        if len(self.names) != len(other.names):
            return False
        alike = [(a is None) == (b is None) for a, b in zip(self.names, other.names, strict=True)]
        meet = all(
            a == b or x is not None or y is not None
            for a, b, x, y in zip(self.segments, other.segments, self.names, other.names, strict=True)
        )
        return meet and not all(alike)


def scope_set(scopes: Any) -> frozenset[str] | None:
    """Declared scopes, checked; None stands for the server's default ones."""
    if scopes is None:
        return None
    found = texts_of(scopes)
    for scope in found:
        _check_length(scope)
        if has_variable(scope):
            raise ValueError(f"scope {scope!r} has a variable: what stands before it is a scope")
        if not scope or not _SCOPE_CHARACTERS.issuperset(scope):
            raise ValueError(f"scope {scope!r} is no scope-token (RFC 6749 §3.3)")
    if not found:
        raise ValueError("an empty set of scopes: say public=True for what needs no token")
    return found


def texts_of(scopes: Any) -> frozenset[str]:
    """The names that an author gives; raises `TypeError` for one by itself, and for what is no name, as a Scope."""
    if isinstance(scopes, str):
        raise TypeError("scopes is a set of texts, not one text")
    given = tuple(scopes) if isinstance(scopes, Iterable) else (scopes,)
    if odd := [one for one in given if not isinstance(one, str)]:
        raise TypeError(f"scopes is a set of texts, the scopes' names, and not of {type(odd[0]).__name__}")
    return frozenset(given)


def _check_length(scope: str) -> None:
    """First of all: what a function makes of an argument may be a megabyte, and errors are logged."""
    if len(scope) > MAX_SCOPE:
        raise ValueError(f"scope {scope[:40]!r}… is longer than {MAX_SCOPE} characters")


def has_variable(scope: str) -> bool:
    """Whether a text is to be parsed: RFC 6749 allows a brace in a scope, and we have none but for variables."""
    return "{" in scope or "}" in scope


def refuse_confusion(
    patterns: Collection[ScopePattern],
    names: Collection[str],
    other_patterns: Collection[ScopePattern],
    other_names: Collection[str],
) -> None:
    """Raise `ValueError` where a value of one scope could make another one.

    Whoever allows "order admin" must not have allowed `orders:admin`. The others were compared with each other when
    they came.
    """
    for new, every in ((patterns, [*names, *other_names]), (other_patterns, names)):
        for one in new:
            if other := next((name for name in sorted(every) if one.fits(name)), None):
                raise ValueError(f"scope {other!r} could be made by {one.text!r}: name one of them otherwise")
    for one in patterns:
        if two := next((two for two in (*patterns, *other_patterns) if one.confused_with(two)), None):
            raise ValueError(f"scopes {one.text!r} and {two.text!r} could make the same one")


def parse(text: str) -> ScopePattern:
    """The pattern of a text that has a brace in it; raises `ValueError`."""
    _check_length(text)
    segments = tuple(text.split(":"))
    found = [_VARIABLE.fullmatch(one) for one in segments]
    names = tuple(None if one is None else one[1] for one in found)
    plain = [one for one, name in zip(segments, names, strict=True) if name is None]
    if any(not one or "{" in one or "}" in one for one in plain):
        raise ValueError(f"scope {text!r}: a variable is a whole segment between colons, as in {_EXAMPLE}")
    if names[0] is not None:
        raise ValueError(f"scope {text!r}: it begins with a name, not with a variable")
    scope_set(plain)
    if len(set(names) - {None}) != len([name for name in names if name]):
        raise ValueError(f"scope {text!r}: a variable is repeated")
    return ScopePattern(text=text, base=text[: text.index(":{")], segments=segments, names=names)


def _may_be(part: str, name: str, values: Mapping[str, Any]) -> bool:
    return part == _encoded(name, values[name]) if name in values else _VALUE.fullmatch(part) is not None


def _encoded(name: str, value: Any) -> str:
    """A value as a segment: only unreserved characters and `%` are left of it (RFC 3986 §2.3, RFC 6749 §3.3).

    A blank would end the scope, a quotation mark the header's parameter, a line end the header or the line in a log; a
    colon would begin another segment. What is no text that a person could read on a page of consent is refused.
    """
    try:
        plain = msgspec.to_builtins(value, str_keys=True)
        text = str(plain) if type(plain) is int else plain
    except (TypeError, ValueError):  # no JSON form, or a number of thousands of digits
        text = None
    if not isinstance(text, str):
        raise BadArguments(f"{name}: no text or whole number, which a scope could hold")
    if not text or len(text) > MAX_SCOPE:
        raise BadArguments(f"{name}: {'too long' if text else 'empty'}, which no scope may hold")
    if not text.isprintable() or not {" ", '"', "\\"}.isdisjoint(text):
        raise BadArguments(f"{name}: has a blank, a quotation mark, a backslash or a character that is not printed")
    return quote(text, safe="")
