"""What a server's registry has of its APIs: all of it in one step, or what was there before."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from mcp_server.registry.server import ListKind, McpServer
from mcp_server.registry.tool import Tool
from mcp_server.rest.importing.importer import ImportedApi, TakenNames
from mcp_server.rest.offer.plan import SEARCH_TOOLS
from mcp_server.rest.search import SearchTools, ToolIndex

_TAKEN: Final = 'is how the tools of a large API are found: another name, or list = "full" for that API'


class Registered:
    """The imported part of a registry: its tools by their names, and the `apis` that they are of."""

    def __init__(self, server: McpServer, default_scopes: frozenset[str], *, granted: bool) -> None:
        self._server, self._default_scopes, self._granted = server, default_scopes, granted
        self.apis: dict[str, ImportedApi] = {}
        self.tools: frozenset[str] = frozenset()

    def reserved(self) -> frozenset[str]:
        """Names that an imported tool may not have, for the author's own have them."""
        return frozenset(self._server.tools) - self.tools

    def kinds(self, found: Sequence[ImportedApi]) -> list[ListKind]:
        """The lists that are others once these are taken."""
        resources = any(one.resources for one in found) or bool(self.resources())
        return ["tools", "resources"] if resources else ["tools"]

    async def take(self, found: Sequence[ImportedApi], *, tell: bool = True) -> None:
        """Put new tools and resources in place of the old ones. Raises `ValueError`."""
        tools = [tool for one in found for tool in one.tools]
        found_by_search = [tool for one in found if one.planned.offered.search for tool in one.tools]
        tools += await asyncio.to_thread(self._search_tools, found_by_search)
        before = self._server.tools
        self._server.change_tools(add=tools, remove=self._there(), tell=tell)
        resources, old = [resource for one in found for resource in one.resources], self.resources()
        try:
            if resources or old:
                self._server.change_resources(add=resources, remove=old, tell=tell)
        except BaseException:
            self._server.change_tools(
                add=[before[name] for name in self._there(before)], remove=[tool.name for tool in tools], tell=tell
            )
            raise
        self.tools = frozenset(tool.name for tool in tools)
        self._server.taken = {f"tools {name}": _TAKEN for name in SEARCH_TOOLS & self.tools}
        self.apis = {one.planned.config.name: one for one in found}

    def others(self) -> TakenNames:
        """What the author's own tools and resources have already."""
        server, imported = self._server, frozenset(self.resources())
        own = [tool for name, tool in server.tools.items() if name not in self.tools]
        kept = [one for uri, one in server.resources.items() if uri not in imported]
        found = TakenNames(
            (one.uri for one in kept), self._default_scopes.union(server.scopes), server.declared_patterns
        )
        found.note([*own, *kept, *server.prompts.values()])
        return found

    def remove(self) -> None:
        """Take everything back."""
        self._server.change_tools(remove=self._there())
        if addresses := self.resources():
            self._server.change_resources(remove=addresses)
        self.apis, self.tools, self._server.taken = {}, frozenset(), {}

    def _there(self, tools: Mapping[str, Tool] | None = None) -> frozenset[str]:
        """The imported tools that are registered: an author may have taken one away."""
        return self.tools & (self._server.tools if tools is None else tools).keys()

    def resources(self) -> list[str]:
        """The addresses of imported resources that are registered."""
        found = (resource.uri for one in self.apis.values() for resource in one.resources)
        return [uri for uri in found if uri in self._server.resources]

    def _search_tools(self, found: list[Tool]) -> list[Tool]:
        """The search tools where there is something to be found by them."""
        if all(one.listed for one in found):
            return []
        if taken := sorted(self.reserved() & SEARCH_TOOLS):
            raise ValueError(
                f"this many tools are found by search, and the server has a tool of its own called {', '.join(taken)}: "
                'call that one otherwise, or set list = "full" for the API'
            )
        return SearchTools(ToolIndex(found), self._default_scopes, granted=self._granted).tools()
