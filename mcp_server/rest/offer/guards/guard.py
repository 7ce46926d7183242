"""The guard of an operation: names of the operator's, the credential's and the method's, kept from what a model names.

An object whose members become names (exploded, `deepObject`, `in: querystring`, a form) is the model's way to write
any name. One that is fixed, hidden, says another method or carries the API's key must not be written beside ours.
"""

import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from mcp_server.authoring.errors import BadArguments
from mcp_server.rest.model import FORM_TYPE, Operation, Parameter, Place, SecurityScheme, Style
from mcp_server.rest.offer import words
from mcp_server.rest.offer.guards import reserved, spellings

_SPREADING: Final = frozenset({"form", "cookie", "deepObject", "spaceDelimited", "pipeDelimited", "matrix"})
_NESTED: Final = Style(name="form", explode=True)


class Members(msgspec.Struct, frozen=True, kw_only=True):
    """The members of a body that are the operator's.

    `named` are the others that the document has. `whole` is whether the body is one argument, `objects` whether one
    that is no object could say what it must not.
    """

    fixed: Mapping[str, Any]
    hidden: frozenset[str]
    named: frozenset[str]
    whole: bool
    objects: bool


class Guard:
    """What must not be written by the arguments of one operation; made at its first call, as its validator is."""

    def __init__(
        self, operation: Operation, asked: list[Parameter], schemes: Iterable[SecurityScheme], members: Members
    ) -> None:
        self._operation, self._asked, self._schemes = operation, asked, schemes
        self._members, self._body = members, operation.body

    @functools.cached_property
    def _kept(self) -> dict[Place, spellings.ProtectedNames]:
        return _kept(self._operation, self._asked, self._schemes)

    @functools.cached_property
    def _spreading(self) -> list[Parameter]:
        return [one for one in self._asked if _place(one) in self._kept and _spreads(one)]

    @functools.cached_property
    def _of_body(self) -> spellings.ProtectedNames:
        return spellings.ProtectedNames(self._members.hidden | self._members.fixed.keys())

    @functools.cached_property
    def _aliases(self) -> dict[str, str]:
        return {spellings.alias(name): name for name in (*self._members.hidden, *self._members.fixed)}

    @functools.cached_property
    def _free(self) -> frozenset[str]:
        """Members that the document has beside an alias of theirs: its server knows both, if not by case alone."""
        taken = {name.casefold() for name in self._aliases.values()}
        return frozenset(name for name in self._members.named if name.casefold() not in taken)

    def taken(self, parameter: Parameter, names: Iterable[str]) -> frozenset[str]:
        """Those members of a parameter's object that it would write under the name of another parameter.

        No call may have one (`check`, and `wire/address` for names that are asked), so none is shown to a model.
        """
        if not _spreads(parameter):
            return frozenset()
        place = _place(parameter)
        kept = self._kept.get(place)
        beside = {one.name for one in self._operation.parameters if _place(one) == place and one is not parameter}
        return frozenset(
            member
            for member in names
            for name in spellings.written(parameter.name, _style(parameter), {member: None})
            if name in beside or (kept is not None and kept.taken(name) is not None)
        )

    def check(self, parameters: Mapping[tuple[Place, str], Any]) -> None:
        """Raise `BadArguments` where a value would write a name that is not the model's to write."""
        for one in self._spreading:
            value = parameters.get((one.place, one.name))
            for name in _written(one, value) if isinstance(value, dict | list) else ():
                _refuse(name, self._kept[_place(one)], one.name)

    def body(self, given: Any) -> Any:
        """A body with what is fixed in it; raises `BadArguments`."""
        if not self._of_body:
            return given
        if not isinstance(given, dict):
            if self._members.objects:
                raise BadArguments("body: must be an object")
            return given
        if self._body is not None and self._body.kind != "json":
            self._check_form(given, self._body.encoding)
        elif self._members.whole:
            self._check_json(given)
        return {**given, **self._members.fixed}

    def _check_json(self, given: Mapping[str, Any]) -> None:
        """JSON has no names that are paths; some servers fold them, or take aliases, all the same."""
        for name in given:
            if name not in self._free and (kept := self._aliases.get(spellings.alias(name))) is not None:
                raise BadArguments(_text(name, kept, "body"))

    def _check_form(self, given: Mapping[str, Any], encoding: Mapping[str, Style]) -> None:
        """Members of a form are names, and some write further ones, by their style."""
        for name in spellings.bounded(given, "body"):
            written = spellings.written(name, encoding[name], given[name]) if name in encoding else ()
            inner = list(spellings.bounded(written, name))
            for one in inner or ([name] if self._members.whole else ()):
                _refuse(one, self._of_body, name if inner else "body")


def _kept(
    operation: Operation, asked: list[Parameter], schemes: Iterable[SecurityScheme]
) -> dict[Place, spellings.ProtectedNames]:
    names: dict[Place, set[str]] = {"query": {reserved.METHOD}}
    given = {(one.place, one.name) for one in asked}
    for one in operation.parameters:
        if (one.place, one.name) not in given:
            names.setdefault(one.place, set()).add(one.name)
    for scheme in schemes:
        if scheme.place is not None and scheme.parameter:
            names.setdefault(scheme.place, set()).add(scheme.parameter)
    return {place: spellings.ProtectedNames(found) for place, found in names.items()}


def _place(parameter: Parameter) -> Place:
    return "query" if parameter.place == "querystring" else parameter.place


def _spreads(parameter: Parameter) -> bool:
    style = parameter.style
    if parameter.place == "querystring":
        return style.media_type == FORM_TYPE
    return style.name in _SPREADING and (style.explode or style.name == "deepObject")


def _style(parameter: Parameter) -> Style:
    return _NESTED if parameter.place == "querystring" else parameter.style


def _written(parameter: Parameter, value: Any) -> Iterator[str]:
    return spellings.bounded(spellings.written(parameter.name, _style(parameter), value), parameter.name)


def _refuse(name: str, kept: spellings.ProtectedNames, within: str) -> None:
    if (found := kept.taken(name)) is not None:
        raise BadArguments(_text(name, found, within))


def _text(name: str, kept: str, within: str) -> str:
    return f"{within}: no member {words.cut(words.clean(name), 64)!r}: {kept!r} is not asked for"
