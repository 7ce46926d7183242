"""Search mode: a large API shows four tools, by which a model finds, reads and calls the others.

`call_tool` is no door past authorization: the engine asks its delegate which tool is meant before it judges the call,
and what is needed, counted and written down is that tool's.
"""

import asyncio
import bisect
import difflib
import re
import sqlite3
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta, Raw, UnsetType

from mcp_server.authoring.context import Context
from mcp_server.authoring.errors import ToolError
from mcp_server.identity import Principal
from mcp_server.protocol import downgrade
from mcp_server.protocol.types.content import TextContent
from mcp_server.protocol.types.tools import CallToolResult, ToolAnnotations
from mcp_server.registry.requirement import Alternative, Requirement
from mcp_server.registry.tool import Tool
from mcp_server.rest.offer.offered import GROUP

MOST: Final = 10
QUICK: Final = 1_000
"""Among so many tools a search takes a few milliseconds; among eleven thousand it took up to 450."""
_NEAR: Final = 3
_MAX_NAME: Final = 64
_COMPARED: Final = 64
_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_A-Za-z]+")
_MAX_QUERY: Final = 500
_MAX_TERMS: Final = 12
_MAX_IN_NAME: Final = 5
_T = TypeVar("_T")
_ANY_CALLER: Final = Requirement((Alternative(frozenset()),))
"""A known caller, whatever they hold: names and descriptions are what `tools/list` would have shown."""
_READS: Final = ToolAnnotations(read_only_hint=True, open_world_hint=False)


Query = Annotated[str, Meta(description="words of what is to be done, for example: refund order")]
Limit = Annotated[int, Meta(description="how many at most", ge=1, le=MOST)]
Name = Annotated[str, Meta(description="the name, as search_tools has it")]


class _Named(msgspec.Struct):
    name: Any = None
    arguments: Raw | UnsetType = msgspec.UNSET


_named = msgspec.json.Decoder(_Named).decode


class ToolIndex:
    """Full-text index over tools: SQLite's FTS5 in memory, one for each worker, made anew when the tools change."""

    def __init__(self, tools: Iterable[Tool]) -> None:
        self.tools: Mapping[str, Tool] = {one.name: one for one in tools}
        self._sorted = sorted(self.tools)
        self._one = asyncio.Lock()
        self._rows = sqlite3.connect(":memory:", check_same_thread=False)
        weakref.finalize(self, self._rows.close)  # whoever searches in it yet when a reload replaces it holds it
        self._rows.execute(
            "CREATE VIRTUAL TABLE tools USING fts5(key UNINDEXED, name, title, text, arguments, tokenize = 'porter', "
            "prefix = '2 3')"
        )
        rows = ((one.name, _words(one.name), *_described(one)) for one in self.tools.values())
        self._rows.executemany("INSERT INTO tools VALUES (?, ?, ?, ?, ?)", rows)

    async def found(self, query: str) -> list[Tool]:
        """What `find` finds."""
        return await self._away(self.find, query)

    async def like(self, name: str) -> list[str]:
        """What `near` finds."""
        return await self._away(self.near, name)

    async def _away(self, look: Callable[[str], list[_T]], text: str) -> list[_T]:
        """Looked for in a thread where that takes long: SQLite, which does nearly all of it, lets the event loop run.

        One at a time, for there is one connection; of what waits each caller has no more than their calls.
        """
        if len(self._sorted) <= QUICK:
            return look(text)
        async with self._one:
            return await asyncio.to_thread(look, text)

    def find(self, query: str, most_terms: int = _MAX_TERMS) -> list[Tool]:
        """The tools that have a word of the query, those first that have the rarest and have them in their names.

        Each word is quoted: the query language of FTS5 is not for strangers.
        """
        terms = list(dict.fromkeys(_words(query[:_MAX_QUERY]).split()))[:most_terms]
        if not terms:
            return []
        # A letter is a word here and no beginning of others: each would be of half of all tools.
        asked = " OR ".join(f'"{term}" *' if len(term) > 1 else f'"{term}"' for term in terms)
        rows = self._rows.execute(
            "SELECT key FROM tools WHERE tools MATCH ? ORDER BY bm25(tools, 0, 10, 5, 2, 1), key LIMIT 100", (asked,)
        )
        return [self.tools[key] for (key,) in rows]

    def near(self, name: str) -> list[str]:
        """Names like one that there is not: by their letters, else by their words.

        Letters are compared with those of so many names only as begin alike or have a word of it: with all of a large
        API's a stranger's name would hold the event loop for a second.
        """
        name = name[:_MAX_NAME]
        with_words = [one.name for one in self.find(name, _MAX_IN_NAME)[:_COMPARED]]
        place = bisect.bisect(self._sorted, name)
        alike = self._sorted[max(place - _COMPARED // 2, 0) : place + _COMPARED // 2]
        close = difflib.get_close_matches(name, dict.fromkeys([*alike, *with_words]), _NEAR, 0.6)
        return (close + [one for one in with_words if one not in close])[:_NEAR]


class SearchTools:
    """The four tools of search mode over an index; with `granted` they show only what the caller may call."""

    def __init__(self, index: ToolIndex, default_scopes: frozenset[str], *, granted: bool) -> None:
        self._index, self._default, self._granted = index, default_scopes, granted

    def tools(self) -> list[Tool]:
        """What the list shows in place of all that is in the index."""
        count = len(self._index.tools)
        own: dict[str, Any] = {"scopes": _ANY_CALLER}
        return [
            Tool(
                self._search,
                "search_tools",
                description=f"Find tools among {count} by words. Then describe_tool has the arguments of one.",
                annotations=_READS,
                **own,
            ),
            Tool(
                self._describe,
                "describe_tool",
                description="What a tool does and which arguments it takes.",
                annotations=_READS,
                **own,
            ),
            Tool(
                self._no_such,
                "call_tool",
                description="Call a tool by its name with its arguments, as describe_tool has them.",
                input_schema=_CALL,
                delegate=self._meant,
                **own,
            ),
            Tool(
                self._no_such_read,
                "call_read_tool",
                description="Call a tool that changes nothing, by its name with its arguments.",
                input_schema=_CALL,
                annotations=ToolAnnotations(read_only_hint=True),
                delegate=self._meant_to_read,
                **own,
            ),
        ]

    async def _search(self, query: Query, ctx: Context, limit: Limit = MOST) -> CallToolResult:
        """The tools that fit a query, with the scopes that the caller lacks for each."""
        found = [one for one in await self._index.found(query) if self._shown(one, ctx.principal)]
        shown = found[:limit]
        tools = [self._line(one, ctx.principal) for one in shown]
        told: dict[str, Any] = {"tools": tools, "found": len(found)}
        if not tools:
            told["hint"] = "no tool has any of these words; try other ones"
        return _told(msgspec.json.encode(told))

    async def _describe(self, name: Name, ctx: Context) -> CallToolResult:
        """The entry of a tool, as the list would have had it."""
        tool = self._index.tools.get(name)
        if tool is None or not self._shown(tool, ctx.principal):
            raise ToolError(await self._unknown(name))
        return _told(bytes(downgrade.entry(tool.entry, ctx.revision)))

    async def _no_such(self, call: dict[str, Any]) -> CallToolResult:
        """Run where the delegate knew no tool of that name."""
        raise ToolError(await self._unknown(call["name"]))

    async def _no_such_read(self, call: dict[str, Any]) -> CallToolResult:
        name = call["name"]
        if name in self._index.tools and not self._granted:  # who may not see it hears of none
            raise ToolError(f"{name} may change something: it is called by call_tool")
        raise ToolError(await self._unknown(name))

    def _meant(self, arguments: Raw | UnsetType) -> tuple[Tool, Raw] | None:
        """The tool that a call is about, and its own arguments; some models write these as a text."""
        try:
            named = _Named() if arguments is msgspec.UNSET else _named(arguments)
            inner = Raw(b"{}") if named.arguments is msgspec.UNSET else named.arguments
            if bytes(inner)[:1] == b'"':
                inner = Raw(msgspec.json.decode(inner, type=str).encode())
                msgspec.json.decode(inner, type=dict[str, Raw])
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return None
        tool = self._index.tools.get(named.name) if isinstance(named.name, str) else None
        return None if tool is None else (tool, inner)

    def _meant_to_read(self, arguments: Raw | UnsetType) -> tuple[Tool, Raw] | None:
        meant = self._meant(arguments)
        return meant if meant is not None and _reads(meant[0]) else None

    async def _unknown(self, name: str) -> str:
        near = () if self._granted else await self._index.like(name)
        return f"there is no tool {name[:64]!r}" + (f"; did you mean {', '.join(near)}?" if near else "")

    def _line(self, tool: Tool, principal: Principal | None) -> dict[str, Any]:
        text = tool.entry.description.partition("\n")[0]
        line: dict[str, Any] = {"name": tool.name, "description": text[:160]}
        if needs := self._lacking(tool, principal):
            line["needs"] = sorted(needs)
        if _reads(tool):
            line["reads"] = True
        return line

    def _shown(self, tool: Tool, principal: Principal | None) -> bool:
        return not (self._granted and self._lacking(tool, principal))

    def _lacking(self, tool: Tool, principal: Principal | None) -> frozenset[str]:
        """The scopes that the caller lacks: of alternatives the fewest."""
        held = frozenset() if principal is None else principal.scopes
        needs = self._default if tool.scopes is None else tool.scopes
        if isinstance(needs, Requirement):
            return min((one.named(parameterized=False) - held for one in needs.alternatives), key=len)
        return needs - held


_CALL: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "description": "the tool, as search_tools has it"},
        "arguments": {"type": "object", "description": "its arguments, as describe_tool has them"},
    },
    "required": ["name"],
    "additionalProperties": False,
}


def _told(encoded: bytes) -> CallToolResult:
    return CallToolResult([TextContent(encoded.decode())], Raw(encoded))


def _reads(tool: Tool) -> bool:
    return tool.entry.annotations is not None and tool.entry.annotations.read_only_hint is True


def _words(text: str) -> str:
    """The words of a name or a text, small: of camelCase and snake_case each part, and the whole beside them."""
    parts = [word.lower() for word in _WORD.findall(text)]
    return " ".join(parts)


def _described(tool: Tool) -> tuple[str, str, str]:
    shown = tool.entry.input_schema
    schema = msgspec.json.decode(shown) if isinstance(shown, Raw) else shown
    arguments = " ".join(schema.get("properties", {}))
    title = f"{tool.entry.title or ''} {(tool.entry.meta or {}).get(GROUP, '')}"
    return _words(title), _words(tool.entry.description), _words(arguments)
