"""Whether two names of a query, a form or a cookie may be one for the server that reads them.

Frameworks are generous: names are folded (ASP.NET, Go's JSON), decoded twice by a proxy, cut at NUL, read as paths
(`a[b]`, `a.b`), taken for an alias (`aB` for `a_b`: Jackson, pydantic, Rails), and PHP makes `a_b` of `a.b`, of `a b`
and of `a[b`. Two that meet are merged, or the last one wins.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any, Final
from urllib.parse import unquote

from mcp_server.authoring.errors import BadArguments
from mcp_server.rest.model import MAX_DECODED, Style

MAX_DEPTH: Final = 32
MAX_NAMES: Final = 10_000
MAX_LENGTH: Final = 256 * 1024
"""Characters of all names of a value. Each is looked at in all its spellings: four megabytes of them, which a call has
room for, would hold the loop for two seconds. A query has room for fewer, and no form has as many."""
_END: Final = re.compile(r"[\x00\r\n]")
_PATH: Final = re.compile(r"[\[\].]+")
_BRACKETS: Final = re.compile(r"[\[\]]+")
_LOOSE: Final = re.compile(r"[\s._+-]+")
_BETWEEN: Final = re.compile(r"(?<=[^_])_(?=[^_])")
Path = tuple[str, ...]


class ProtectedNames:
    """Protected names, not to be written by anybody else; looked up in no more steps than the longest has parts."""

    def __init__(self, names: Iterable[str]) -> None:
        self._whole: list[dict[Path, str]] = [{}, {}, {}]
        self._begun: list[dict[Path, str]] = [{}, {}, {}]
        self._longest = 0
        for name in sorted(names):
            for whole, begun, path in zip(self._whole, self._begun, _paths(name), strict=True):
                whole.setdefault(path, name)
                self._longest = max(self._longest, len(path))
                for end in range(1, len(path)):
                    begun.setdefault(path[:end], name)

    def __bool__(self) -> bool:
        return bool(self._longest)

    def taken(self, name: str) -> str | None:
        """Which of them servers may take a name for, or for what holds it: `key[]` is `key`, `a` holds `a[b]`."""
        for whole, begun, path in zip(self._whole, self._begun, _paths(name), strict=True):
            if (found := begun.get(path)) is not None:
                return found
            for end in range(1, min(len(path), self._longest) + 1):
                if (found := whole.get(path[:end])) is not None:
                    return found
        return None


def same(one: str, other: str) -> bool:
    """Whether two names are one but for letters and separators: `Api-Key` and `api_key`."""
    return _LOOSE.sub("_", _plain(one)) == _LOOSE.sub("_", _plain(other))


def alias(name: str) -> str:
    """A name folded, and without the separators between its words: what an alias of it comes to, too."""
    return _joined(_folded(name))


def _paths(name: str) -> tuple[Path, Path, Path]:
    """A name as a path, as one whose dots are no steps, and as one whose bracket that nothing closes is none either."""
    plain = _plain(name)
    steps = _BRACKETS.split(plain)
    _, bracket, rest = plain.partition("[")
    undotted = closed = _parts(steps)
    if bracket and "]" not in rest:
        closed = _parts([plain.rstrip("[").replace("[", "_")])
    return _parts(_PATH.split(plain)), undotted, closed


def _parts(found: list[str]) -> Path:
    """The parts that say something, without what separates their words; of a name that has none, that one."""
    return tuple(_joined(one) for one in found if one) or ("",)


def _joined(name: str) -> str:
    return name if name.isalnum() else _BETWEEN.sub("", _LOOSE.sub("_", name))


def _plain(name: str) -> str:
    """A name decoded, folded and without what is passed over at its ends."""
    for _ in range(MAX_DECODED):
        if "%" not in name or (decoded := unquote(name)) == name:
            break
        name = decoded
    return _END.split(_folded(name).strip())[0].strip()


def _folded(name: str) -> str:
    if name.isascii():  # nearly all
        return name.lower()
    return unicodedata.normalize("NFKC", name).casefold()


def written(name: str, style: Style, value: Any) -> Iterator[str]:
    """The names that a value brings with it beside its own: of an exploded object's members, of a deep one's."""
    if not isinstance(value, dict | list) or style.name == "content":
        return
    if style.name == "deepObject":
        yield from _deep(name, value, 0)
    elif style.explode and isinstance(value, dict):
        yield from value


def bounded(names: Iterable[str], within: str) -> Iterator[str]:
    """The names; raises `BadArguments` for too many of one argument, or too long ones."""
    length = 0
    for count, name in enumerate(names):
        length += len(name)
        if count == MAX_NAMES or length > MAX_LENGTH:
            raise BadArguments(f"{within}: over {MAX_NAMES} members, or {MAX_LENGTH} characters of their names")
        yield name


def _deep(name: str, value: Any, depth: int) -> Iterator[str]:
    if not isinstance(value, dict | list) or depth > MAX_DEPTH:  # deeper ones are refused where they are written
        yield name
        return
    for member, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield from _deep(f"{name}[{member}]", inner, depth + 1)
