"""Deserializer: the bytes of a file → a JSON value, of JSON or YAML, within bounds of size, depth and aliases.

JSON is tried first: its decoder is thirty times as fast as a YAML parser. What it refuses may still be YAML, which
takes trailing commas and comments. A fault has its line and column, for whoever wrote the file.
"""

import codecs
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from mcp_server.rest.document.files import yaml_reading
from mcp_server.rest.document.values import Lexeme, pointer_of
from mcp_server.rest.model import Fault, UnusableDocument

MAX_BYTES: Final = 50 * 1024 * 1024
"""The largest public document, Microsoft Graph's beta, has 47 MB; reading 50 takes seconds and not minutes."""
MAX_DEPTH: Final = 200
"""Containers within containers. Real documents stay below 60; the walks after this one recurse."""
_ENDS_OF_KEYS: Final = (b'":', b'" :', b'"\t:', b'"\n:', b'"\r:')
_KEY: Final = re.compile(rb'"[ \t\r\n]*:')
_QUOTED_KEY: Final = re.compile(rb'\\"[ \t\r\n]*:')
_MAX_DUPLICATES: Final = 100
_PIECE: Final = 256 * 1024
_CONTAINERS: Final = frozenset({dict, list})


class Parsed(msgspec.Struct, frozen=True, kw_only=True):
    """A file as a JSON value; `externals` are the references in it that do not begin with `#`.

    `outward` are the objects that have one, and discriminators with a mapping, which may.
    `lexemes` hold numbers, truths and nulls as they were written, for places where a text was meant: `version: 1.10`.
    """

    value: Any
    faults: tuple[Fault, ...] = ()
    externals: frozenset[str] = frozenset()
    outward: tuple[dict[str, Any], ...] = ()
    lexemes: Mapping[tuple[int, str | int], Lexeme] = msgspec.field(default_factory=dict)


def decode(data: bytes, *, max_bytes: int = MAX_BYTES) -> Parsed:
    """The value of a file; raises `UnusableDocument` with the place of the fault."""
    if len(data) > max_bytes:
        raise unusable(f"has {len(data)} bytes, more than {max_bytes}")
    text, faults = _utf8(data)
    if text.lstrip()[:1] not in (b"{", b"["):
        return _yaml(text, faults)
    try:
        value = msgspec.json.decode(text)
    except RecursionError:
        raise unusable(f"is nested deeper than {MAX_DEPTH} levels") from None
    except ValueError as error:  # what msgspec and codecs raise
        return _yaml_after_all(text, faults, error)
    keys, outward = measure(value)
    if keys != sum(map(text.count, _ENDS_OF_KEYS)) - text.count(b'\\":'):  # C loops: they spare a second parse
        faults += _duplicates(text, keys)
    return Parsed(value=value, faults=faults, externals=externals(outward), outward=outward)


def unusable(text: str, pointer: str = "") -> UnusableDocument:
    """A refusal of the whole document."""
    return UnusableDocument(Fault(pointer, text))


def measure(value: Any) -> tuple[int, tuple[dict[str, Any], ...]]:
    """How many keys a value has, and the objects that lead `outward`; raises `UnusableDocument` when it is too deep.

    Level by level and not by recursion: it is what makes recursion safe for all that comes later.
    """
    level, keys, outward = [value], 0, list[dict[str, Any]]()
    for _ in range(MAX_DEPTH + 1):
        below: list[Any] = []
        for container in level:
            if type(container) is dict:
                keys += len(container)
                if ("$ref" in container and _leads_out(container["$ref"])) or "mapping" in container:
                    outward.append(container)
                below += [held for held in container.values() if type(held) in _CONTAINERS]
            elif type(container) is list:
                below += [held for held in container if type(held) in _CONTAINERS]
        if not below:
            return keys, tuple(outward)
        level = below
    raise unusable(f"is nested deeper than {MAX_DEPTH} levels")


def externals(outward: Iterable[dict[str, Any]]) -> frozenset[str]:
    """The references among what leads outward."""
    return frozenset(one["$ref"] for one in outward if "$ref" in one and _leads_out(one["$ref"]))


def _leads_out(ref: Any) -> bool:
    return type(ref) is str and ref[:1] != "#"


def _utf8(data: bytes) -> tuple[bytes, tuple[Fault, ...]]:
    """The file as UTF-8: a byte order mark says otherwise, and one bad byte in a description refuses nothing."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace").encode(), ()
    data = data.removeprefix(b"\xef\xbb\xbf")
    if (bad := _not_utf8(data)) is None:
        return data, ()
    line, column = _place(data, bad)
    text = f"line {line}, column {column}: a byte that is not UTF-8 was replaced"
    return data.decode("utf-8", "replace").encode(), (Fault("", text),)


def _not_utf8(data: bytes) -> int | None:
    """Where the first byte stands that is not UTF-8.

    In pieces: of a document with one emoji the whole text takes four bytes for each of its own, 50 MB of GitHub's.
    """
    at = 0
    while at < len(data):
        piece = data[at : at + _PIECE]
        try:
            at += codecs.utf_8_decode(piece, "strict", at + len(piece) == len(data))[1]
        except UnicodeDecodeError as error:
            return at + error.start
    return None


def _yaml_after_all(text: bytes, faults: tuple[Fault, ...], error: ValueError) -> Parsed:
    try:
        return _yaml(text, faults)
    except UnusableDocument as of_yaml:
        line, column = _json_place(text)
        if not line:  # JSON after all, with a number or a surrogate that only the fast decoder refuses
            raise of_yaml from None
        raise unusable(f"line {line}, column {column}: is no JSON: {error}") from None


def _yaml(text: bytes, faults: tuple[Fault, ...]) -> Parsed:
    value, found, lexemes = yaml_reading.load(text, max_depth=MAX_DEPTH)
    _, outward = measure(value)
    return Parsed(value=value, faults=faults + found, externals=externals(outward), outward=outward, lexemes=lexemes)


def _json_place(text: bytes) -> tuple[int, int]:
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return error.lineno, error.colno
    except (ValueError, RecursionError):
        return 1, 1
    return 0, 0


def _place(data: bytes, offset: int) -> tuple[int, int]:
    return data.count(b"\n", 0, offset) + 1, offset - data.rfind(b"\n", 0, offset)


def _duplicates(text: bytes, keys: int) -> tuple[Fault, ...]:
    """Which keys came twice: slower than all the rest, so only asked where the counts of keys differ."""
    written = sum(1 for _ in _KEY.finditer(text)) - sum(1 for _ in _QUOTED_KEY.finditer(text))
    if written == keys:
        return ()
    twice: dict[int, list[str]] = {}
    kept: list[dict[str, Any]] = []  # an id is only its object's own while that lives

    def mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            seen: set[str] = set()
            twice[id(made)] = [key for key, _ in pairs if key in seen or seen.add(key)]  # type: ignore[func-returns-value]
            kept.append(made)
        return made

    value = json.loads(text, object_pairs_hook=mapping)
    return tuple(_located(value, twice))[:_MAX_DUPLICATES]


def _located(value: Any, twice: Mapping[int, list[str]]) -> list[Fault]:
    found: list[Fault] = []
    waiting: list[tuple[Any, tuple[str | int, ...]]] = [(value, ())]
    while waiting:
        container, path = waiting.pop()
        found += [
            Fault(pointer_of((*path, key)), f"the key {key!r} comes more than once; the last one counts")
            for key in dict.fromkeys(twice.get(id(container), ()))
        ]
        items = container.items() if type(container) is dict else enumerate(container)
        waiting += [(held, (*path, key)) for key, held in items if type(held) is dict or type(held) is list]
    return found
