"""Pagination: where an answer says that there is more, as arguments of the same tool and never as an address.

An address from an answer is the API's word, not ours: it is followed by nobody. Of one that names this very operation
(scheme, host and path alike) the query's values become arguments.
"""

import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, urljoin, urlsplit

import msgspec
from msgspec import Raw

from mcp_server.rest.model import Operation, Schema

SIZES: Final = frozenset(
    ["limit", "pagesize", "perpage", "maxresults", "top", "size", "rows", "count", "first", "max", "pagelimit"]
)
OFFSETS: Final = frozenset(["offset", "skip", "start", "startat", "startindex", "from"])
PAGES: Final = frozenset(["page", "pagenumber", "pageno", "pageindex", "pagenum"])
CURSORS: Final = frozenset(
    [
        "cursor",
        "pagetoken",
        "nextpagetoken",
        "nexttoken",
        "nextcursor",
        "continuationtoken",
        "after",
        "startingafter",
        "marker",
        "token",
    ]
)
_NEXT: Final = frozenset(
    [
        "next",
        "nexturl",
        "nextlink",
        "nextpage",
        "nextpageurl",
        "nextpagelink",
        "odata.nextlink",
        "nextpagetoken",
        "nexttoken",
        "nextcursor",
        "continuationtoken",
    ]
)
_HOLDERS: Final = frozenset(
    ["links", "paging", "pagination", "meta", "pageinfo", "metadata", "cursors", "responsemetadata"]
)
_TOTALS: Final = frozenset(
    ["total", "totalcount", "totalresults", "totalitems", "totalelements", "totalsize", "odata.count"]
)
_ENDS: Final = frozenset(["after", "end", "endcursor"])
"""They tell of a next page only inside of what speaks of pages."""
_TELLING: Final = _NEXT | _HOLDERS | _TOTALS | _ENDS
_LONGEST_NAME: Final = 64
_LINK: Final = re.compile(r"<([^<>]*)>((?:\s*;\s*[\w*!-]+\s*(?:=\s*(?:\"[^\"]*\"|[^\s\",;]*))?)*)")
_REL_NEXT: Final = re.compile(r";\s*rel\s*=\s*(?:\"(?:[^\"]*\s)?next(?:\s[^\"]*)?\"|next(?=\s|;|$))", re.IGNORECASE)
_MAX_LINK: Final = 8_192
_members = msgspec.json.Decoder(dict[str, Raw]).decode
_MAX_LOOKED_AT: Final = 4_096
"""Bytes of a member in which a next page is looked for: it is short wherever it is."""


class Paging(msgspec.Struct, frozen=True, kw_only=True):
    """Which of an operation's arguments turn pages; `arguments` has them by their names in the query."""

    arguments: Mapping[str, str]
    numbers: frozenset[str] = frozenset()
    """The arguments that are whole numbers."""
    size: str = ""
    offset: str = ""
    page: str = ""
    first_page: int = 1
    cursor: str = ""


def paging(operation: Operation, named: Mapping[str, str]) -> Paging | None:
    """How an operation's pages are turned; `named` are the arguments by their names in the query."""
    schemas = {one.name: one.schema for one in operation.parameters if one.place == "query" and one.name in named}
    if not schemas:
        return None

    def found(known: frozenset[str]) -> str:
        return next((named[name] for name in schemas if _plain(name) in known), "")

    page = found(PAGES)
    return Paging(
        arguments={name: named[name] for name in schemas},
        numbers=frozenset(named[name] for name, schema in schemas.items() if _is_number(schema)),
        size=found(SIZES),
        offset=found(OFFSETS),
        page=page,
        first_page=next((_first(schemas[name]) for name in schemas if named[name] == page), 1),
        cursor=found(CURSORS),
    )


def following(turns: Paging, answer: Mapping[str, str], root: bytes, url: str) -> dict[str, Any] | None:
    """The arguments of the next page as the answer, headers and body, tells them; None where it tells of none."""
    link = answer.get("link", "")[:_MAX_LINK]
    for target, parameters in _LINK.findall(link):
        if _REL_NEXT.search(parameters):
            return _from_address(turns, target, url)
    for value in _next_in(root):
        if found := _from_value(turns, value, url):
            return found
    return None


def rest(turns: Paging, given: Mapping[str, Any], shown: int) -> tuple[dict[str, Any], bool] | None:
    """The arguments for what was cut from a page after the first `shown`; not whole where they only ask for less.

    With a cursor, the rest of a page has no name of its own: a smaller page has, and its answer names the next.
    """
    if not shown:
        return None
    smaller = {turns.size: shown} if turns.size else {}
    if turns.offset:
        return {**smaller, turns.offset: _number(given, turns.offset, 0) + shown}, True
    if turns.page and smaller:
        page = _number(given, turns.page, turns.first_page)
        before = (page - turns.first_page) * _number(given, turns.size, 0)
        if page == turns.first_page or (before and before % shown == 0):
            return {**smaller, turns.page: before // shown + turns.first_page + 1}, True
    return (smaller, False) if smaller else None


def total(headers: Mapping[str, str], root: bytes) -> int:
    """How many there are of all pages, where the answer says so; else 0."""
    stated = headers.get("x-total-count", "") or headers.get("x-total", "")
    if stated.isascii() and stated.isdigit() and len(stated) < 16:
        return int(stated)
    for name, value in _inner(root):
        if _plain(name) in _TOTALS and isinstance(value, int) and not isinstance(value, bool):
            return value
    return 0


def _next_in(root: bytes) -> Iterator[Any]:
    for name, value in _inner(root):
        if _plain(name) in _NEXT and value:
            yield value.get("href") or value.get("url") if isinstance(value, dict) else value


def _inner(root: bytes, depth: int = 2) -> Iterator[tuple[str, Any]]:
    """The members of an object, and of those in it that usually speak of pages; large ones are not looked at."""
    if root[:1] != b"{":
        return
    for name, raw in _members(root).items():
        plain = _plain(name)
        if plain not in _TELLING:
            continue
        piece = bytes(raw)
        if len(piece) > _MAX_LOOKED_AT:
            continue
        if plain in _HOLDERS:
            if depth and piece[:1] == b"{":
                yield from _inner(piece, depth - 1)
        elif plain not in _ENDS:
            yield name, msgspec.json.decode(piece)
        elif depth < 2:
            yield "next", msgspec.json.decode(piece)


def _from_value(turns: Paging, value: Any, url: str) -> dict[str, Any] | None:
    if isinstance(value, str) and (value[:1] in "/?" or "://" in value[:10]):
        return _from_address(turns, value, url)
    if isinstance(value, str):
        return {turns.cursor: value} if turns.cursor else None
    if isinstance(value, int) and not isinstance(value, bool):
        name = turns.page or turns.offset or turns.cursor
        return {name: value} if name else None
    return None


def _from_address(turns: Paging, target: str, url: str) -> dict[str, Any] | None:
    try:
        there, here = urlsplit(urljoin(url, target)), urlsplit(url)
        if (there.scheme, there.netloc, there.path.rstrip("/")) != (here.scheme, here.netloc, here.path.rstrip("/")):
            return None
        query = parse_qsl(there.query, max_num_fields=100)
    except ValueError:
        return None
    found: dict[str, Any] = {}
    for name, value in query:
        if (argument := turns.arguments.get(name)) is not None:
            whole = argument in turns.numbers and value.isascii() and value.isdigit() and len(value) < 16
            found[argument] = int(value) if whole else value
    return found or None


def _number(given: Mapping[str, Any], name: str, default: int) -> int:
    value = given.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def _plain(name: str) -> str:
    return _spelt(name) if len(name) <= _LONGEST_NAME else name


@functools.lru_cache(maxsize=2048)
def _spelt(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "").lstrip("$@")


def _is_number(schema: Schema) -> bool:
    kind = schema.get("type") if isinstance(schema, dict) else None
    return kind == "integer" or (isinstance(kind, list) and "integer" in kind)


def _first(schema: Schema) -> int:
    stated = [schema.get("default"), schema.get("minimum")] if isinstance(schema, dict) else []
    return 0 if 0 in [one for one in stated if isinstance(one, int) and not isinstance(one, bool)] else 1
