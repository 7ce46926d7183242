"""YAML deserializer over libyaml's events: the core schema of YAML 1.2, aliases counted, duplicate keys told.

Own construction and no loader class: a loader of YAML 1.1 makes `on` a truth, `1:30` a number and `2024-01-01` a date,
resolves tags of Python, and says nothing of a key that comes twice.
"""

import re
from typing import Any, Final

import yaml  # type: ignore[import-untyped]
import yaml.cyaml  # type: ignore[import-untyped]

from mcp_server.rest.document.values import Lexeme, pointer_of
from mcp_server.rest.model import Fault, UnusableDocument

MAX_REPEATED: Final = 200_000
"""Nodes that aliases may add to ten times those that are written: ten levels of nine come to three thousand million."""
_MAX_FAULTS: Final = 100
_WORDS: Final[dict[str, bool | None]] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_INT: Final = re.compile(r"[-+]?[0-9]{1,400}\Z")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_NUMERIC_START: Final = frozenset("-+.0123456789")
_STR_TAG: Final = "tag:yaml.org,2002:str"
_MERGE: Final = "<<"

Lexemes = dict[tuple[int, str | int], Lexeme]


def load(data: bytes, *, max_depth: int) -> tuple[Any, tuple[Fault, ...], Lexemes]:
    """The first document of a stream, the faults of it, and scalars as they were written."""
    parser = yaml.cyaml.CParser(data)
    builder = _Builder(max_depth)
    try:
        while not builder.ended:
            builder.take(parser.get_event())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _refused(mark, error.problem or error.context or "is no YAML") from None
    except (yaml.YAMLError, ValueError) as error:  # a ReaderError has an offset and no mark
        raise UnusableDocument(Fault("", f"is no YAML: {str(error)[:200]}")) from None
    finally:
        parser.dispose()
    return builder.root, tuple(builder.faults), builder.lexemes


def _refused(mark: Any, text: str) -> UnusableDocument:
    return UnusableDocument(Fault("", f"{_place(mark)}: {text}"))


def _place(mark: Any) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}" if mark else "at its end"


class _Open:
    """A container that is being filled: the key that waits for its value, and how many nodes it comes to."""

    __slots__ = ("anchor", "key", "merge", "merged", "nodes", "value")

    def __init__(self, value: dict[str, Any] | list[Any], anchor: str | None) -> None:
        self.value, self.anchor = value, anchor
        self.key: str | None = None
        self.merge = False
        self.merged: list[dict[str, Any]] = []
        self.nodes = 1


class _Builder:
    """Takes events one by one; `root` is whole once `ended` is true."""

    def __init__(self, max_depth: int) -> None:
        self.root: Any = None
        self.ended = False
        self.faults: list[Fault] = []
        self.lexemes: Lexemes = {}
        self._max_depth = max_depth
        self._stack: list[_Open] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._written = 0

    def take(self, event: Any) -> None:
        kind = type(event)
        if kind is yaml.ScalarEvent:
            self._scalar(event)
        elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
            self._open(event, {} if kind is yaml.MappingStartEvent else [])
        elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
            self._close(event)
        elif kind is yaml.AliasEvent:
            self._alias(event)
        elif kind is yaml.DocumentEndEvent or kind is yaml.StreamEndEvent:
            self.ended = True

    def _open(self, event: Any, value: dict[str, Any] | list[Any]) -> None:
        if len(self._stack) >= self._max_depth:
            raise _refused(event.start_mark, f"is nested deeper than {self._max_depth} levels")
        self._no_key(event)
        self._stack.append(_Open(value, event.anchor))

    def _no_key(self, event: Any) -> None:
        """A mapping or a list cannot be a key: JSON has texts alone."""
        if self._stack and type(self._stack[-1].value) is dict and self._stack[-1].key is None:
            raise _refused(event.start_mark, "a key is not a text")

    def _close(self, event: Any) -> None:
        done = self._stack.pop()
        for more in done.merged:
            for key, value in more.items():
                done.value.setdefault(key, value)  # type: ignore[union-attr]
        if done.anchor:
            self._anchors[done.anchor] = (done.value, done.nodes)
        self._put(done.value, done.nodes, event)

    def _scalar(self, event: Any) -> None:
        top = self._stack[-1] if self._stack else None
        text: str = event.value
        if top is not None and type(top.value) is dict and top.key is None:
            top.key, top.merge = text, text == _MERGE and event.implicit[0]
            if text in top.value and len(self.faults) < _MAX_FAULTS:
                path = pointer_of([*(self._at(open_) for open_ in self._stack[:-1]), text])
                said = f"{_place(event.start_mark)}: the key {text!r} comes more than once; the last one counts"
                self.faults.append(Fault(path, said))
            if event.anchor:
                self._anchors[event.anchor] = (text, 1)
            return
        value = resolved(text) if event.implicit[0] and event.tag is None else _tagged(event)
        if event.anchor:
            self._anchors[event.anchor] = (value, 1)
        if top is not None and (type(value) is bool or (type(value) is not str and str(value) != text)):
            key = top.key if type(top.value) is dict else len(top.value)
            self.lexemes[id(top.value), key] = Lexeme(top.value, value, text)  # type: ignore[index]
        self._put(value, 1, event)

    def _alias(self, event: Any) -> None:
        if event.anchor not in self._anchors:
            raise _refused(event.start_mark, f"the alias *{event.anchor} repeats nothing that came before it")
        value, nodes = self._anchors[event.anchor]
        top = self._stack[-1]
        if type(top.value) is dict and top.key is None:
            if type(value) is not str:
                raise _refused(event.start_mark, "a key is not a text")
            top.key, top.merge = value, False
            return
        self._put(value, nodes, event)

    def _put(self, value: Any, nodes: int, event: Any) -> None:
        """A whole value into the container that waits for it; what aliases make of it is bounded here."""
        if not self._stack:
            self.root = value
            return
        top = self._stack[-1]
        self._written += 1
        top.nodes += nodes
        if top.nodes > MAX_REPEATED + 10 * self._written:
            raise _refused(
                event.start_mark, f"its aliases come to {top.nodes} nodes, of {self._written} that are written"
            )
        if type(top.value) is list:
            top.value.append(value)
            return
        if top.merge:
            self._merge(top, value, event)
        else:
            top.value[top.key] = value  # type: ignore[index, call-overload]
        top.key, top.merge = None, False

    def _merge(self, top: _Open, value: Any, event: Any) -> None:
        several = value if type(value) is list else [value]
        if not all(type(one) is dict for one in several):
            raise _refused(event.start_mark, "<< merges what is no mapping")
        top.merged += several

    @staticmethod
    def _at(open_: _Open) -> str | int:
        return open_.key or "" if type(open_.value) is dict else len(open_.value)


def resolved(text: str) -> Any:
    """A plain scalar by the core schema of YAML 1.2, without octal and hexadecimal numbers: those are texts here."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMERIC_START:
        return text
    if _INT.match(text):
        return int(text)
    if _FLOAT.match(text):
        number = float(text)
        return number if abs(number) < float("inf") else text  # JSON has no infinity
    return text


def _tagged(event: Any) -> Any:
    """A quoted scalar is a text; a core tag resolves; any other is passed over, for it names what only code makes."""
    tag = event.tag
    if tag is None or tag in ("!", _STR_TAG) or not tag.startswith("tag:yaml.org,2002:"):
        return event.value
    return resolved(event.value)
