"""The APIs of a server while it runs: opened with the application, read again where wanted, closed with it."""

import asyncio
import contextlib
import difflib
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, Final, Protocol, Self

from mcp_server.authoring.context import CallFacts
from mcp_server.observe.log import logger
from mcp_server.registry.server import McpServer
from mcp_server.rest.document import Source
from mcp_server.rest.exchange import Exchange
from mcp_server.rest.importing import importer, loader, snapshot
from mcp_server.rest.importing.configs import DocumentInfo
from mcp_server.rest.importing.documents import State
from mcp_server.rest.importing.importer import ImportedApi, Planned, TakenNames
from mcp_server.rest.importing.newest import NewestDocument, Unsettled
from mcp_server.rest.importing.registered import Registered
from mcp_server.rest.importing.snapshot import DocumentFiles
from mcp_server.rest.importing.watch import Watching, watch
from mcp_server.rest.model import Fault, UnusableDocument, WireRequest
from mcp_server.rest.offer.config import ApiConfig
from mcp_server.rest.offer.report import Report
from mcp_server.rest.upstream import BoundUpstream
from mcp_server.rest.upstream_api import Sender, UpstreamContext
from mcp_server.rest.wire.address import Base

_SHOWN: Final = 20


class Client(Sender, Protocol):
    """A client of one API, open inside `async with`."""

    async def __aenter__(self) -> Self:
        """Open it."""

    async def __aexit__(self, *_: object) -> None:
        """Close it."""


MakeClient = Callable[[Iterable[Base]], Client]


class LiveApis:
    """Registers what APIs offer, and what `ctx.upstream` calls."""

    def __init__(
        self,
        server: McpServer,
        apis: Sequence[ApiConfig],
        context: UpstreamContext,
        client: MakeClient,
        access: AbstractAsyncContextManager[object],
        *,
        granted: bool = False,
        watching: Watching | None = None,
    ) -> None:
        self._server, self._apis, self._context = server, tuple(apis), context
        self._client, self._access = client, access
        self._registered = Registered(server, context.default_scopes, granted=granted)
        self._watching = watching or Watching()
        self._documents = self._watching.documents
        self._fetch = importer.fetching(client)
        self._newest = {
            one.name: NewestDocument(one.origin.document, self._fetch, importer.loading(one), self._watching.settle_s)
            for one in self._apis
            if one.origin.document
        }
        self._opened, self._told = AsyncExitStack(), 0
        self._clients = weakref.WeakSet[Client]()
        """Those of the APIs, and retired ones as long as a call holds them."""
        self._served = State()
        """What of the documents that workers share is served here."""
        self._failed: dict[str, str] = {}
        self._behind: dict[str, str] = {}
        """Why this worker does not serve what the others do."""
        self.about: DocumentInfo | None = None
        """What the only API's document said of itself at the start."""
        self.unsettled = False
        """Whether somebody was writing a document when it was looked at last."""

    async def start(self) -> None:
        """Read every document and register what it offers; raises `UnusableDocument`, for all of them that are.

        What other workers serve already is served here too, whatever has become of the document.
        """
        await self._opened.enter_async_context(self._access)
        self._opened.callback(self._documents.leave)
        self._opened.push_async_callback(self._close_clients)
        self._server.upstreams = self
        state = self._documents.state()
        if state.generation:
            self._documents.join(state.generation)
        found, plans, reserved = {}, [], self._registered.reserved()
        unusable: list[UnusableDocument] = []
        for config in self._apis:
            with _gathered(config, unusable):
                source = await self._source(config, state)
                if source is not None:
                    found[config.name] = snapshot.of(source)
                    self._newest[config.name].serve(source)
                plans.append(await importer.planned(config, source, reserved))
                reserved |= _names(plans[-1])
        if unusable:
            unusable[0].others = tuple(unusable[1:])
            raise unusable[0]
        await self._registered.take(await self._all_made(plans))
        await self._share(found, state)
        if len(plans) == 1 and found:
            self.about = _about(plans[0])
        for one in self._registered.apis.values():
            _tell(one.planned.report)
        if self._newest and self._watching.goes_on:
            task = asyncio.create_task(watch(self, self._watching))
            self._opened.push_async_callback(_ended, task)

    async def _source(self, config: ApiConfig, state: State) -> Source | None:
        """A document as the others have it, or else as it is."""
        kept = await asyncio.to_thread(self._documents.read, state, config.name)
        if kept is None:
            return await importer.loaded(config, self._fetch)
        return await loader.replay(kept, importer.loading(config))

    async def _share(self, found: Mapping[str, DocumentFiles], state: State) -> None:
        """The first worker gives the others what it read; a later one has the leader look at the documents again."""
        if state.generation:
            self._served = state
            self._documents.ask()
        else:
            prepared = await asyncio.to_thread(self._documents.prepare, found, ())
            self._served = await asyncio.to_thread(self._documents.publish, prepared)

    def renew_secrets(self, secrets: Mapping[str, str]) -> bool:
        """Call with other static secrets from now on; false where a name is gone."""
        return isinstance(self._access, Exchange) and self._access.renew_secrets(secrets)

    async def release(self) -> None:
        """Close the connections; what was registered stays, and cannot be called."""
        await self._opened.aclose()

    async def stop(self) -> None:
        """Take everything back and close the connections."""
        await self.release()
        self._registered.remove()
        self._failed, self._behind = {}, {}
        self._server.upstreams = None

    def bind(self, name: str, facts: CallFacts) -> BoundUpstream:
        """An API for one call; raises `LookupError`."""
        found = self._registered.apis.get(name)
        if found is None:
            raise LookupError(f"no API {name!r}: there are {', '.join(sorted(self._registered.apis)) or 'none'}")
        return BoundUpstream(found.api, facts)

    @property
    def problems(self) -> Mapping[str, str]:
        """Why the newest document of an API is not served, by the API's name; another one is, then."""
        return {**self._documents.state().problems, **self._behind, **self._failed} if self._registered.apis else {}

    @property
    def plans(self) -> list[Planned]:
        """What is offered of each document."""
        return [one.planned for one in self._registered.apis.values()]

    def request(self, tool: str, arguments: dict[str, Any]) -> WireRequest:
        """What a call of an imported tool would send; raises `LookupError` and `BadArguments`."""
        for one in self._registered.apis.values():
            if tool in one.operations:
                return one.operations[tool].request(arguments)
        if reason := next(filter(None, (plan.refused_as(tool) for plan in self.plans)), ""):
            raise LookupError(f"the operation is refused: {reason}")
        there = [name for one in self._registered.apis.values() for name in one.operations]
        near = difflib.get_close_matches(tool[:64], there, 1)
        hint = f"; did you mean {near[0]}?" if near else f": there are {', '.join(sorted(there)[:_SHOWN]) or 'none'}"
        raise LookupError(f"no imported tool {tool!r}{hint}")

    async def reload(self) -> bool:
        """Look at the documents again: of each what is new is taken whole or, where something is wrong, not at all."""
        problems: dict[str, str] = {}
        found: dict[str, DocumentFiles] = {}
        plans, reserved = [], self._registered.reserved()
        self.unsettled = False
        for config in self._apis:
            plan = None
            try:
                if source := await self._other(config.name):
                    plan = await self._other_plan(config, source, reserved)
                    found[config.name] = snapshot.of(source)
            except Unsettled:
                self.unsettled = True
                problems |= {name: why for name, why in self.problems.items() if name == config.name}
            except UnusableDocument as error:
                problems[config.name] = str(error)
            plans.append(plan or await self._same(config, reserved, moved=bool(found)))
            reserved |= _names(plans[-1])
        try:
            changed = bool(found) and await self._replace(plans, found, problems)
        finally:
            await self._retire()
        self._note(problems)
        return changed

    async def follow(self) -> bool:
        """Take what the leader has taken."""
        state = self._documents.state()
        if state.generation <= self._served.generation:
            return False
        newer = [one for one in self._newest if state.documents.get(one) != self._served.documents.get(one)]
        try:
            return await self._follow(state)
        except (UnusableDocument, ValueError) as error:
            logger.error("what other workers serve cannot be taken by this one", apis=newer, problem=str(error))
            self._behind, self._served = dict.fromkeys(newer, str(error)), state  # the same again would fail again
            return False

    async def _follow(self, state: State) -> bool:
        plans, reserved, moved = [], self._registered.reserved(), False
        for config in self._apis:
            if state.documents.get(config.name) == self._served.documents.get(config.name):
                plans.append(await self._same(config, reserved, moved=moved))
            else:
                kept = await asyncio.to_thread(self._documents.read, state, config.name)
                if kept is None:  # by now there is a newer one
                    return False
                source = await loader.replay(kept, importer.loading(config))
                self._newest[config.name].serve(source)
                plans.append(await self._other_plan(config, source, reserved))
                moved = True
            reserved |= _names(plans[-1])
        try:
            await self._registered.take(await self._all_made(plans), tell=False)
        finally:
            await self._retire()
        self._documents.join(state.generation)
        self._behind, self._served = {}, state
        return True

    def tell(self, *, at_once: bool = False) -> bool:
        """Tell listeners, on whatever worker, when all workers have the same list; True when there is nothing left."""
        state = self._documents.state()
        if max(state.told, self._told) >= state.generation:
            return True
        if not (at_once or self._documents.all_have(state.generation)):
            return False
        for kind in state.changed:
            self._server.list_changed(kind)
        self._told = state.generation  # though a full disk takes no note of it: it is told once
        self._documents.tell(state.generation)
        return True

    def failed(self, problems: Mapping[str, str]) -> None:
        """What went wrong here, whatever the others serve."""
        self._failed = dict(problems)

    async def _other(self, name: str) -> Source | None:
        return await self._newest[name].other() if name in self._newest else None

    async def _same(self, config: ApiConfig, reserved: frozenset[str], *, moved: bool) -> Planned:
        """The plan of the same document: another one where an API before it has `moved`, and has other names now.

        Also where it has fewer: a worker that begins later would give a name away that here is still another's.
        """
        before = self._registered.apis[config.name].planned
        return await importer.replanned(before, reserved) if moved and reserved != before.reserved else before

    async def _other_plan(self, config: ApiConfig, source: Source, reserved: frozenset[str]) -> Planned:
        before = self._registered.apis[config.name].planned
        newest = self._newest[config.name]
        try:
            one = await importer.planned(config, source, reserved)
            if before.offered.offers and not one.offered.offers:
                # What is read while it is written is often valid, and short: it must not take everything away.
                raise UnusableDocument(Fault("/paths", "nothing of it is left; the server is restarted for that"))
        except UnusableDocument as error:
            newest.refuse(error.fault)
            raise
        return one

    async def _replace(
        self, plans: list[Planned], found: Mapping[str, DocumentFiles], problems: dict[str, str]
    ) -> bool:
        before, made = self._registered.tools, await self._all_made(plans)
        try:
            prepared = await asyncio.to_thread(self._documents.prepare, found, self._registered.kinds(made))
        except OSError as error:  # nothing is served that later workers could not have; it is tried again
            problems |= dict.fromkeys(found, f"it cannot be kept for other workers: {error.strerror}")
            return False
        try:
            await self._registered.take(made, tell=False)
        except ValueError as error:
            for name in found:
                self._newest[name].refuse(Fault("", str(error)))
                problems[name] = str(error)
            return False
        for name in found:
            self._newest[name].take()
        self._served, self._behind = await asyncio.to_thread(self._documents.publish, prepared), {}
        self._documents.join(self._served.generation)
        self.tell()
        now = self._registered.tools
        gone, come = sorted(before - now), sorted(now - before)
        logger.info("documents were read again", tools=len(now), gone=gone[:_SHOWN], new=come[:_SHOWN])
        return True

    def _note(self, problems: Mapping[str, str]) -> None:
        known = self._documents.state().problems
        for name, problem in problems.items():
            if known.get(name) != problem:
                logger.error("a document cannot be taken; the one before is served", api=name, problem=problem)
        for name in known.keys() - problems.keys():
            logger.info("a document can be used again", api=name)
        self._documents.note(problems)

    async def _retire(self) -> None:
        """Have clients that nobody new comes to keep only the calls under way.

        Those of what was replaced, and of what was made and could not be taken.
        """
        kept = {id(one.api.sender) for one in self._registered.apis.values()}
        for client in [one for one in self._clients if id(one) not in kept]:
            await client.retire()

    async def _close_clients(self) -> None:
        for client in list(self._clients):
            await client.__aexit__(None, None, None)

    async def _all_made(self, plans: Iterable[Planned]) -> list[ImportedApi]:
        """What the plans come to, in their order: an address that one has taken is no other's."""
        others, found = self._registered.others(), []
        for one in plans:
            found.append(await self._made(one, others))
            others.addresses |= {resource.uri for resource in found[-1].resources}
        return found

    async def _made(self, planned: Planned, others: TakenNames) -> ImportedApi:
        known = self._registered.apis.get(planned.config.name)
        if known is not None and known.planned is planned:
            others.note([*known.tools, *known.resources])
            return known
        bases = _origins(planned)
        if known is not None and _origins(known.planned).keys() >= bases.keys():
            return importer.made(planned, known.api.sender, self._context, others)
        client = await self._client(bases.values()).__aenter__()
        self._clients.add(client)
        return importer.made(planned, client, self._context, others)


def _about(planned: Planned) -> DocumentInfo:
    found = planned.offered.document
    return DocumentInfo(
        api=planned.config.name, title=found.title, version=found.version, description=found.description
    )


def _names(planned: Planned) -> frozenset[str]:
    return frozenset(offer.name for offer in planned.offered.offers)


@contextlib.contextmanager
def _gathered(config: ApiConfig, unusable: list[UnusableDocument]) -> Iterator[None]:
    """A fault of a document says whose it is, and does not keep the other documents from being read."""
    try:
        yield
    except UnusableDocument as error:
        error.api = config.name
        unusable.append(error)


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
        refused=_shown(report.refused),
        refused_count=len(report.refused),
        remarks=_shown(report.remarks),
        remarks_count=len(report.remarks),
    )


def _shown(faults: Sequence[Fault]) -> list[str]:
    return [f"{one.pointer}: {one.text}"[:300] for one in faults[:_SHOWN]]


async def _ended(task: "asyncio.Task[Any]") -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
