"""What a server's registry has of its APIs: all of it in one step, or what was there before."""

import asyncio
from collections.abc import Mapping, Sequence

from mcp_server.registry.server import ListKind, McpServer
from mcp_server.registry.tool import Tool
from mcp_server.rest.imported import Imported
from mcp_server.rest.search import SearchTools, ToolIndex


class Registered:
    """The imported part of a registry: its tools by their names, and the `apis` that they are of."""

    def __init__(self, server: McpServer, default_scopes: frozenset[str], *, granted: bool) -> None:
        self._server, self._default_scopes, self._granted = server, default_scopes, granted
        self.apis: dict[str, Imported] = {}
        self.tools: frozenset[str] = frozenset()

    def reserved(self) -> set[str]:
        """Names that an imported tool may not have, for the author's own have them."""
        return set(self._server.tools) - self.tools

    async def take(self, found: Sequence[Imported], *, tell: bool = True) -> list[ListKind]:
        """Put new tools and resources in place of the old ones; the lists that are others now. Raises `ValueError`."""
        tools = [tool for one in found for tool in one.tools]
        tools += await asyncio.to_thread(self._search_tools, [one for one in tools if not one.listed])
        before = self._server.tools
        self._server.change_tools(add=tools, remove=self._there(), tell=tell)
        resources, old = [resource for one in found for resource in one.resources], self._resources()
        try:
            if resources or old:
                self._server.change_resources(add=resources, remove=old, tell=tell)
        except BaseException:
            self._server.change_tools(
                add=[before[name] for name in self._there(before)], remove=[tool.name for tool in tools], tell=tell
            )
            raise
        self.tools = frozenset(tool.name for tool in tools)
        self.apis = {one.planned.config.name: one for one in found}
        return ["tools", "resources"] if resources or old else ["tools"]

    def remove(self) -> None:
        """Take everything back."""
        self._server.change_tools(remove=self._there())
        if addresses := self._resources():
            self._server.change_resources(remove=addresses)
        self.apis, self.tools = {}, frozenset()

    def _there(self, tools: Mapping[str, Tool] | None = None) -> frozenset[str]:
        """The imported tools that are registered: an author may have taken one away."""
        return self.tools & (self._server.tools if tools is None else tools).keys()

    def _resources(self) -> list[str]:
        found = (resource.uri for one in self.apis.values() for resource in one.resources)
        return [uri for uri in found if uri in self._server.resources]

    def _search_tools(self, hidden: list[Tool]) -> list[Tool]:
        if not hidden:
            return []
        return SearchTools(ToolIndex(hidden), self._default_scopes, granted=self._granted).tools()
