"""The APIs of a server while it runs: opened with the application, read again where wanted, closed with it."""

import asyncio
import contextlib
import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, Final, Protocol, Self

from mcp_server.authoring.context import CallFacts
from mcp_server.observe.log import logger
from mcp_server.registry.server import McpServer
from mcp_server.registry.tool import Tool
from mcp_server.rest import imported
from mcp_server.rest.imported import Imported, Planned
from mcp_server.rest.model import Fault, UnusableDocument, WireRequest
from mcp_server.rest.offer.config import ApiConfig
from mcp_server.rest.offer.report import Report
from mcp_server.rest.search import SearchTools, ToolIndex
from mcp_server.rest.upstream import BoundUpstream, Sender, Surroundings
from mcp_server.rest.wire.address import Base

_SHOWN: Final = 20


class Client(Sender, Protocol):
    """A client of one API, open inside `async with`."""

    async def __aenter__(self) -> Self:
        """Open it."""

    async def __aexit__(self, *_: object) -> None:
        """Close it."""


MakeClient = Callable[[Iterable[Base]], Client]


class Imports:
    """Registers what APIs offer, and what `ctx.upstream` calls."""

    def __init__(
        self,
        server: McpServer,
        apis: Sequence[ApiConfig],
        around: Surroundings,
        client: MakeClient,
        access: AbstractAsyncContextManager[object],
        *,
        granted: bool = False,
        reload_s: float = 0,
    ) -> None:
        self._server, self._apis, self._around, self._client = server, tuple(apis), around, client
        self._access = access
        self._granted, self._reload_s = granted, reload_s
        self._fetch = imported.fetching(client)
        self._imported: dict[str, Imported] = {}
        self._tools: frozenset[str] = frozenset()
        self._opened = AsyncExitStack()
        self.problems: dict[str, str] = {}
        """Why the newest document of an API is not served, by the API's name; another one is, then."""

    async def start(self) -> None:
        """Read every document and register what it offers; raises `UnusableDocument`."""
        await self._opened.enter_async_context(self._access)
        self._server.upstreams = self
        plans = await self._plan()
        await self._take([await self._made(one) for one in plans])
        for one in self._imported.values():
            _tell(one.planned.report)
        if self._reload_s and any(one.origin.document for one in self._apis):
            watching = asyncio.create_task(self._watch())
            self._opened.push_async_callback(_ended, watching)

    async def release(self) -> None:
        """Close the connections; what was registered stays, and cannot be called."""
        await self._opened.aclose()

    async def stop(self) -> None:
        """Take everything back and close the connections."""
        await self.release()
        self._server.change_tools(remove=self._there())
        if addresses := self._resources():
            self._server.change_resources(remove=addresses)
        self._imported, self._tools, self.problems = {}, frozenset(), {}
        self._server.upstreams = None

    def bind(self, name: str, facts: CallFacts) -> BoundUpstream:
        """An API for one call; raises `LookupError`."""
        found = self._imported.get(name)
        if found is None:
            raise LookupError(f"no API {name!r}: there are {', '.join(sorted(self._imported)) or 'none'}")
        return BoundUpstream(found.reach, facts)

    @property
    def plans(self) -> list[Planned]:
        """What is offered of each document."""
        return [one.planned for one in self._imported.values()]

    @property
    def reports(self) -> list[Report]:
        """What came of each document."""
        return [one.report for one in self.plans]

    def request(self, tool: str, arguments: dict[str, Any]) -> WireRequest:
        """What a call of an imported tool would send; raises `LookupError` and `BadArguments`."""
        for one in self._imported.values():
            if tool in one.operations:
                return one.operations[tool].request(arguments)
        there = [name for one in self._imported.values() for name in one.operations]
        near = difflib.get_close_matches(tool[:64], there, 1)
        hint = f"; did you mean {near[0]}?" if near else f": there are {', '.join(sorted(there)[:_SHOWN]) or 'none'}"
        raise LookupError(f"no imported tool {tool!r}{hint}")

    async def reload(self) -> bool:
        """Read the documents again; what is new is taken whole, or, where something is wrong, nothing of it."""
        try:
            plans = await self._plan()
            known = {name: one.planned.digests for name, one in self._imported.items()}
            if all(known.get(one.config.name) == one.digests for one in plans):
                self.problems = {}
                return False
            before = self._tools
            await self._take([await self._made(one) for one in plans])
        except (UnusableDocument, ValueError) as error:
            name = getattr(error, "api", "")
            if self.problems.get(name) != str(error):
                logger.error("a document cannot be taken; the one before is served", api=name, problem=str(error))
            self.problems = {name: str(error)}
            return False
        self.problems = {}
        gone, come = sorted(before - self._tools), sorted(self._tools - before)
        logger.info("documents were read again", tools=len(self._tools), gone=gone[:_SHOWN], new=come[:_SHOWN])
        return True

    async def _plan(self) -> list[Planned]:
        """What is offered of each, in their order: a name that one has taken is no other's."""
        reserved = set(self._server.tools) - self._tools
        plans = []
        for config in self._apis:
            try:
                one = await imported.planned(config, self._fetch, reserved)
            except UnusableDocument as error:
                error.api = config.name  # type: ignore[attr-defined]
                raise
            before = self._imported.get(config.name)
            if before is not None and before.planned.offered.offers and not one.offered.offers:
                # What is read while it is written is often valid, and short: it must not take everything away.
                fault = UnusableDocument(Fault("/paths", "nothing of it is left; the server is restarted for that"))
                fault.api = config.name  # type: ignore[attr-defined]
                raise fault
            reserved |= {offer.name for offer in one.offered.offers}
            plans.append(one)
        return plans

    async def _made(self, planned: Planned) -> Imported:
        known = self._imported.get(planned.config.name)
        bases = _origins(planned)
        if known is not None and _origins(known.planned).keys() >= bases.keys():
            return imported.made(planned, known.reach.sender, self._around)
        # The client of the document before stays open until the end: calls are still on their way through it.
        client = await self._opened.enter_async_context(self._client(bases.values()))
        return imported.made(planned, client, self._around)

    async def _take(self, found: list[Imported]) -> None:
        """Put new tools in place of old ones in one step: one change of the list."""
        tools = [tool for one in found for tool in one.tools]
        tools += await asyncio.to_thread(self._search_tools, [one for one in tools if not one.listed])
        before = self._server.tools
        self._server.change_tools(add=tools, remove=self._there())
        resources, old = [resource for one in found for resource in one.resources], self._resources()
        try:
            if resources or old:
                self._server.change_resources(add=resources, remove=old)
        except BaseException:
            self._server.change_tools(
                add=[before[name] for name in self._there(before)], remove=[tool.name for tool in tools]
            )
            raise
        self._tools = frozenset(tool.name for tool in tools)
        self._imported = {one.planned.config.name: one for one in found}

    def _there(self, tools: Mapping[str, Tool] | None = None) -> frozenset[str]:
        """The imported tools that are registered: an author may have taken one away."""
        return self._tools & (self._server.tools if tools is None else tools).keys()

    def _resources(self) -> list[str]:
        found = (resource.uri for one in self._imported.values() for resource in one.resources)
        return [uri for uri in found if uri in self._server.resources]

    def _search_tools(self, hidden: list[Tool]) -> list[Tool]:
        if not hidden:
            return []
        return SearchTools(ToolIndex(hidden), self._around.default_scopes, granted=self._granted).tools()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._reload_s)
            try:
                await self.reload()
            except Exception as error:  # noqa: BLE001 - the next time may go well, and the document before is served
                logger.exception("documents could not be read again")
                self.problems = {"": type(error).__name__}


def _origins(planned: Planned) -> dict[str, Base]:
    """The hosts that an API is called on."""
    return {one.origin: one for one in (*planned.bases.values(), planned.base)}


def _tell(report: Report) -> None:
    count = report.count
    logger.info(
        "an API was imported",
        api=report.api,
        operations=count.operations,
        tools=count.tools,
        tokens=count.tokens,
        search=report.search,
        refused=[f"{one.pointer}: {one.text}"[:300] for one in report.refused[:_SHOWN]],
        refused_count=len(report.refused),
    )


async def _ended(task: "asyncio.Task[Any]") -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
