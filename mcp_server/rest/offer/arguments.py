"""The arguments of one tool: their schema as JSON, and what a call of it sends, by place and name on the wire.

The validator is compiled at the first call: a thousand of them at start would cost more than reading the document.
"""

import difflib
import functools
import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec
from msgspec import UNSET

from mcp_server.authoring import schema as json_schema
from mcp_server.authoring.errors import BadArguments
from mcp_server.protocol import param_headers
from mcp_server.rest.model import CallValues, Place, Schema
from mcp_server.rest.offer import words
from mcp_server.rest.offer.config import Page
from mcp_server.rest.offer.schemas.keywords import LONGEST_EXAMPLE, short
from mcp_server.rest.offer.schemas.kinds import kinds, read_as
from mcp_server.rest.offer.slots import Slot, Slots, header

_LONGEST_REASON: Final = 300
_MOST_REASONS: Final = 3
_DUMMY: Final = frozenset({"random_string"})
"""What Cursor sends to tools that take nothing."""


class Arguments:
    """What a tool takes: `schema` is its input schema, `values` what a call sends."""

    def __init__(
        self, slots: Slots, schema: bytes, definitions: Mapping[str, Schema], page: Page | None = None
    ) -> None:
        self.schema: Final = schema
        self.asked: Final = slots.asked
        self.fixed: Final = slots.fixed
        self._slots, self._definitions, self._page = slots, definitions, page
        self._by_key = {one.key: one for one in slots.asked}

    def schema_object(self) -> dict[str, Any]:
        """The input schema, decoded anew for whoever wants to look into it."""
        found: dict[str, Any] = msgspec.json.decode(self.schema)
        return found

    def values(self, arguments: Mapping[str, Any]) -> CallValues:
        """What is sent for these arguments; raises `BadArguments` with what the model should change."""
        if unknown := arguments.keys() - self._by_key.keys():
            if self._by_key or unknown != _DUMMY:
                raise BadArguments(self._unknown(sorted(unknown)))
            arguments = {}
        # Null stands for nothing said, where it is no value: models fill in what they leave out.
        said = {key: value for key, value in arguments.items() if value is not None or key in self._takes_null}
        given = self._paged(said)
        if reasons := self._violations(given):
            read = {key: self._again(key, value) for key, value in given.items()}
            given = self._paged(read)  # a body that came as a text is one only now
            if reasons := self._violations(given):
                raise BadArguments("; ".join(reasons))
        return self._placed(given)

    @functools.cached_property
    def _violated(self) -> Callable[[Any], Iterable[Any]]:
        return json_schema.validator(self.schema_object())

    @functools.cached_property
    def _takes_null(self) -> frozenset[str]:
        """The members of the body that may be null; a parameter of null is not sent."""
        return frozenset(
            one.key
            for one in self.asked
            if one.place in ("field", "body") and "null" in kinds(one.schema, self._definitions)
        )

    def _again(self, key: str, value: Any) -> Any:
        return read_as(value, self._by_key[key].schema, self._definitions)

    def _violations(self, given: dict[str, Any]) -> list[str]:
        if first := list(itertools.islice(self._violated(given), 20)):
            return [_reason(one) for one in sorted(first, key=_by_worth)[:_MOST_REASONS]]
        needed = self._slots.needed_fields
        if not needed or not any(one.place == "field" and one.key in given for one in self.asked):
            return []
        return [f'"{key}" is needed with the others of the body' for key in sorted(needed - given.keys())]

    def _unknown(self, keys: list[str]) -> str:
        told = []
        for key in keys[:_MOST_REASONS]:
            near = difflib.get_close_matches(key[:100], self._by_key, 2, 0.5)
            wire = [one.key for one in self.asked if one.wire == key]
            hint = f"; did you mean {' or '.join(wire or near)}?" if wire or near else ""
            told.append(f"no argument {words.cut(words.clean(key), 64)!r}{hint}")
        if not any("did you mean" in one for one in told):
            told.append(f"there are: {', '.join(itertools.islice(self._by_key, 20)) or 'none'}")
        return "; ".join(told)

    def _paged(self, given: dict[str, Any]) -> dict[str, Any]:
        """The arguments with the size of a page: the default where none is given, never more than the cap."""
        if self._page is None:
            return given
        for one in self.asked:
            if one.wire == self._page.size:
                size = given.setdefault(one.key, min(self._page.default, self._page.max))
                if type(size) in (int, float) and size > self._page.max:
                    given[one.key] = self._page.max
        return given

    def _placed(self, given: Mapping[str, Any]) -> CallValues:
        parameters: dict[tuple[Place, str], Any] = dict(self._slots.fixed)
        fields: dict[str, Any] = {}
        body: Any = UNSET
        for key, value in given.items():
            slot = self._by_key[key]
            if slot.place == "field":
                fields[slot.wire] = value
            elif slot.place == "body":
                body = value
            else:
                parameters[slot.place, slot.wire] = value
        self._slots.guard.check(parameters)
        return CallValues(parameters=parameters, body=self._body(body, fields))

    def _body(self, body: Any, fields: dict[str, Any]) -> Any:
        if self._slots.spread:
            body = fields if fields or self._slots.body_required else UNSET
        return UNSET if body is UNSET else self._slots.guard.body(body)


def _by_worth(violation: Any) -> tuple[bool, int]:
    """The most telling first: alternatives say only that none fits, and what lies deeper says where."""
    return violation.kind.name in ("anyOf", "oneOf"), -len(violation.instance_path)


def _is_of_another(violation: Any) -> bool:
    """Whether it says that a member is not the one value by which alternatives are told apart."""
    return violation.kind.name in ("const", "enum")


def _reason(violation: Any) -> str:
    """What is wrong, by its place; of alternatives what is wrong with the one that comes nearest."""
    nearest = violation
    for _ in range(8):
        branches = getattr(nearest.kind, "context", None)
        meant = [branch for branch in branches or () if branch]
        meant = [branch for branch in meant if not any(map(_is_of_another, branch))] or meant
        inner = [min(branch, key=_by_worth) for branch in meant]
        if not inner:
            break
        deepest = min(inner, key=_by_worth)
        if len(deepest.instance_path) <= len(nearest.instance_path) and len(meant) > 1:
            break
        nearest = deepest
    place = ".".join(str(part) for part in nearest.instance_path)
    text = words.clean(nearest.message)
    if len(text) > _LONGEST_REASON:  # it begins with the whole of what was given, and ends with what is wanted
        text = f"{text[:80]}…{text[80 - _LONGEST_REASON :]}"
    return f"{words.cut(words.clean(place), 100)}: {text}" if place else text


def input_schema(rendered: Iterable[tuple[Slot, bytes]], definitions: bytes) -> bytes:
    """The input schema of a tool: an object at its root that admits nothing else, for a model misspells."""
    pairs = list(rendered)
    properties = b",".join(b"%s:%s" % (msgspec.json.encode(slot.key), schema) for slot, schema in pairs)
    required = [slot.key for slot, _ in pairs if slot.required]
    return b"".join((
        b'{"type":"object","properties":{', properties, b"}",
        b',"required":' + msgspec.json.encode(required) if required else b"",
        b',"additionalProperties":false',
        b',"$defs":' + definitions if definitions else b"",
        b"}",
    ))  # fmt: skip


def notes(slots: Iterable[Slot]) -> list[dict[str, bytes]]:
    """What is said of each argument beside its schema: the parameter's own words go before those of its schema."""
    headers: set[str] = set()
    found = []
    for slot in slots:
        said: dict[str, bytes] = {}
        if text := words.first_paragraph(slot.description, _LONGEST_REASON):
            said["description"] = msgspec.json.encode(text)
        if slot.deprecated:
            said["deprecated"] = b"true"
        if slot.example is not None and short(slot.example, LONGEST_EXAMPLE):
            said["examples"] = msgspec.json.encode([slot.example])
        if (name := header(slot)) and name.lower() not in headers:
            headers.add(name.lower())
            said[param_headers.KEYWORD] = msgspec.json.encode(name)
        found.append(said)
    return found
