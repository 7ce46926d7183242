"""One API read whole: document and configuration → tools and resources that can be called. Read this first.

Nothing is registered here: `live_apis.py` takes what was made into the server, whole or not at all.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Final
from urllib.parse import urlsplit

import msgspec

from mcp_server.registry.requirement import named
from mcp_server.registry.resource import Resource
from mcp_server.registry.scope_pattern import ScopePattern, refuse_confusion
from mcp_server.registry.server import Protected, patterns_of
from mcp_server.registry.tool import Tool
from mcp_server.rest import placement, resources, tools
from mcp_server.rest.document import Source, read
from mcp_server.rest.importing import loader
from mcp_server.rest.model import Document, Fault, UnusableDocument, UpstreamFault, WireRequest
from mcp_server.rest.needs.operation_index import OperationAccess, OperationIndex, untaken
from mcp_server.rest.offer import names
from mcp_server.rest.offer.config import ApiConfig, Identity, IdentityMode
from mcp_server.rest.offer.offered import Offer, Offered
from mcp_server.rest.offer.plan import SEARCH_TOOLS, plan
from mcp_server.rest.offer.report import Report
from mcp_server.rest.resources import NoResource
from mcp_server.rest.tools import ImportedOperation
from mcp_server.rest.upstream_api import Sender, UpstreamApi, UpstreamContext
from mcp_server.rest.wire import address
from mcp_server.rest.wire.address import Base

FETCH_S: Final = 30.0


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """A document that was read, with what is offered of it and where that is called."""

    config: ApiConfig
    offered: Offered
    base: Base
    bases: Mapping[str, Base]
    """The base of each tool, by its name."""
    location: str = ""
    """Where the document was read, empty where there is none."""
    reserved: Collection[str] = ()
    """Names that others had already."""
    refused: tuple[Fault, ...] = ()
    remarks: tuple[Fault, ...] = ()

    @property
    def report(self) -> Report:
        """The report of the plan, with what was found since."""
        report = self.offered.report
        refused, remarks = (*report.refused, *self.refused), (*report.remarks, *self.remarks)
        return msgspec.structs.replace(report, refused=refused, remarks=remarks)

    @property
    def tool_names(self) -> frozenset[str]:
        """The tools that its operations are, and those that find them where the list is too long."""
        search = SEARCH_TOOLS if self.offered.search else frozenset[str]()
        return search.union(one.name for one in self.offered.offers if one.manner.form != "resource")

    def refused_as(self, tool: str) -> str:
        """Why the operation of an id, or of what its tool would be called, is refused; empty where it is not."""
        faults = {one.pointer: one.text for one in self.report.refused}
        for one in self.offered.document.operations:
            known = one.about.operation_id
            if one.pointer in faults and tool and tool in (known, "_".join(names.words(known))):
                return faults[one.pointer]
        return ""

    def asked(self, mode: IdentityMode, *, handlers: bool) -> dict[str, frozenset[str]]:
        """The audiences that tokens are asked for in this way, and the scopes that may be asked for each.

        With `handlers` what their calls may ask for counts, too: they may be of operations that are no tools.
        """
        api = self.config.identity
        found = {api.audience: api.scopes or frozenset()} if api.mode == mode else {}
        made = (OperationAccess(one.needs, one.manner.identity) for one in self.offered.offers)
        for one in (*made, *(untaken(self.offered) if handlers else ())):
            if one.identity.mode == mode:
                audience = one.identity.audience
                found[audience] = found.get(audience, frozenset()) | one.asked
        return found


class ImportedApi(msgspec.Struct, frozen=True, kw_only=True):
    """What one API comes to."""

    planned: Planned
    api: UpstreamApi
    tools: tuple[Tool, ...]
    resources: tuple[Resource, ...]
    operations: Mapping[str, ImportedOperation]


class TakenNames:
    """Names that are taken beside an API: addresses, and scopes that one of a document could be confused with.

    The author's own come first, and of two APIs the first one's.
    """

    def __init__(
        self, addresses: Iterable[str] = (), scopes: Iterable[str] = (), patterns: Iterable[ScopePattern] = ()
    ) -> None:
        self.addresses, self._scopes, self._patterns = set(addresses), set(scopes), set(patterns)

    def add(self, one: Protected) -> None:
        """Take note of one more; raises `ValueError` for a scope that a value of another could make."""
        patterns = patterns_of([one])
        if patterns or self._patterns:
            refuse_confusion(patterns, named(one.scopes, parameterized=False), self._patterns, self._scopes)
        self.note([one])

    def note(self, offered: Iterable[Protected]) -> None:
        """Take note of what has been compared with all before it."""
        for one in offered:
            self._scopes |= named(one.scopes, parameterized=False)
            self._patterns.update(patterns_of([one]))


async def loaded(config: ApiConfig, fetch: loader.Fetch) -> Source | None:
    """The document of an API, None where it has none; raises `UnusableDocument`."""
    if not config.origin.document:
        return None
    return await loader.load(config.origin.document, fetch, loading(config))


def loading(config: ApiConfig) -> loader.Loading:
    """What the operator says of an API's document."""
    origin = config.origin
    return loader.Loading(overlays=origin.overlays, hosts=origin.allow_hosts, sha256=origin.sha256)


async def planned(config: ApiConfig, source: Source | None, reserved: Collection[str] = ()) -> Planned:
    """What is offered of an API; raises `UnusableDocument`. Reading takes seconds for the largest: in a thread."""
    return await asyncio.to_thread(_planned, config, source, reserved)


async def replanned(one: Planned, reserved: Collection[str]) -> Planned:
    """The same document offered anew, for another API has taken a name of it."""
    return await asyncio.to_thread(_offering, one.config, one.offered.document, one.location, reserved)


def made(planned: Planned, sender: Sender, context: UpstreamContext, others: TakenNames | None = None) -> ImportedApi:
    """The tools and resources of a plan; what the registry would not take is a fault of that operation alone."""
    config = planned.config
    api = UpstreamApi(
        name=config.name,
        base=planned.base,
        sender=sender,
        context=context,
        identity=config.identity,
        scopes=config.scopes,
        schemes=planned.offered.document.schemes,
        operations=OperationIndex(planned.offered),
    )
    making = _Making(planned, api, others or TakenNames())
    for offer in planned.offered.offers:
        if offer.name in planned.bases:
            making.add(offer)
    return making.result()


class _Making:
    """The offers of one plan on their way to what the registry takes."""

    def __init__(self, planned: Planned, api: UpstreamApi, others: TakenNames) -> None:
        self._planned, self._api, self._others = planned, api, others
        self._addresses = {resources.alike(uri): "another one" for uri in others.addresses}
        for name, uri in resources.addresses(planned.config.name, planned.offered.offers):
            self._addresses.setdefault(resources.alike(uri), name)
        self._tools: list[Tool] = []
        self._resources: list[Resource] = []
        self._operations: dict[str, ImportedOperation] = {}
        self._refused, self._remarks = list(planned.refused), list(planned.remarks)

    def add(self, offer: Offer) -> None:
        """A tool, a resource or both; or a fault of this operation."""
        planned, defaults = self._planned, self._api.context.default_scopes
        runs = ImportedOperation(offer, self._api, planned.bases[offer.name], planned.offered)
        try:
            if offer.manner.form == "tool" or not self._is_resource(offer, runs) or offer.manner.form == "both":
                tool = tools.tool(offer, runs, defaults, listed=offer.manner.pinned or not planned.offered.search)
                self._check_scopes(tool)
                self._tools.append(tool)
                self._operations[offer.name] = runs
        except (ValueError, TypeError) as error:
            self._refused.append(Fault(offer.operation.pointer, f"{offer.name}: {error}"))

    def _is_resource(self, offer: Offer, runs: ImportedOperation) -> bool:
        """Make a resource of it; where no address can stand for it, it stays a tool."""
        api, context = self._planned.config.name, self._api.context
        try:
            resource = resources.resource(api, offer, runs, context.default_scopes)
            if (other := self._addresses[resources.alike(resource.uri)]) != offer.name:
                raise NoResource(f"its address {resource.uri} is that of {other}")
        except NoResource as error:
            self._remarks.append(Fault(offer.operation.pointer, f"{offer.name}: {error}; it stays a tool"))
            return False
        self._check_scopes(resource)
        runs.link = resources.linked(api, offer)
        self._resources.append(resource)
        return True

    def _check_scopes(self, one: Protected) -> None:
        """Raise `ValueError` for what the registry would refuse: one operation must not take the other ones along."""
        declared = self._api.context.declared
        if declared and (unknown := named(one.scopes, parameterized=False) - frozenset(declared)):
            raise ValueError(f"needs {', '.join(sorted(unknown))}, and the server declares no such scope")
        self._others.add(one)

    def result(self) -> ImportedApi:
        """What came of them."""
        planned = msgspec.structs.replace(self._planned, refused=tuple(self._refused), remarks=tuple(self._remarks))
        return ImportedApi(
            planned=planned,
            api=self._api,
            tools=tuple(self._tools),
            resources=tuple(self._resources),
            operations=self._operations,
        )


def fetching(client: Callable[[Iterable[Base]], AbstractAsyncContextManager[Sender]]) -> loader.Fetch:
    """What fetches documents: one request with a client that calls nothing but that address's host."""

    async def fetch(url: str, max_bytes: int) -> bytes:
        parts = urlsplit(url)
        base = address.base_of(f"{parts.scheme}://{parts.netloc}", private=True)
        async with client([base]) as sender:
            answer = await sender.send(WireRequest(method="GET", url=url), deadline_s=FETCH_S, max_bytes=max_bytes)
        if answer.status != 200 or answer.cut:
            what = f"longer than {max_bytes} bytes" if answer.cut else f"status {answer.status}"
            raise UpstreamFault("protocol", what, sent=True)
        return answer.body

    return fetch


def _planned(config: ApiConfig, source: Source | None, reserved: Collection[str]) -> Planned:
    if source is None:
        return _offering(config, Document(title=config.name, version="", operations=()), "", reserved)
    return _offering(config, read(source), source.location, reserved)


def _offering(config: ApiConfig, document: Document, location: str, reserved: Collection[str]) -> Planned:
    base = address.document_base(document.servers, configured=config.origin.base_url, fetched_from=location)
    if isinstance(base, Fault):
        where = f"base_url is MCP_UPSTREAM_URL for a single API, else a key of [apis.{config.name}] in mcp.toml"
        raise UnusableDocument(Fault(base.pointer, f"{base.text} ({where})"))
    if fault := placement.misplaced(document.schemes, _identities(config)):
        raise UnusableDocument(fault)
    offered = plan(document, config, reserved)
    bases, refused = _bases(offered.offers, base, config, location, document.servers)
    return Planned(
        config=config,
        offered=offered,
        base=base,
        bases=bases,
        location=location,
        reserved=reserved,
        refused=tuple(refused),
    )


def _identities(config: ApiConfig) -> list[Identity]:
    return [config.identity, *(one.identity for one in config.operations.values() if one.identity is not None)]


def _bases(
    offers: tuple[Offer, ...], base: Base, config: ApiConfig, fetched_from: str, servers: tuple[str, ...]
) -> tuple[dict[str, Base], list[Fault]]:
    found: dict[str, Base] = {}
    refused = []
    for offer in offers:
        own = address.operation_base(
            base, offer.operation, fetched_from=fetched_from, allow=config.origin.allow_hosts, replaced=servers
        )
        if isinstance(own, Fault):
            refused.append(Fault(own.pointer, f"{offer.name}: {own.text}"))
        else:
            found[offer.name] = own
    return found, refused
