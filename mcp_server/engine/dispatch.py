"""A classified request → its answer: method, scopes, capability, then the work.

`admit` decides everything that has an HTTP status of its own, before anything runs; `run` does the work.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Raw

from mcp_server.authoring.interaction import PURPOSE, RequestStateCodec
from mcp_server.engine.call import Admitted, Call, NeedsScopes, ResourceMatch, Target
from mcp_server.engine.invoke import Invoker, level_named
from mcp_server.engine.methods import lifecycle, listening, prompts, resources
from mcp_server.engine.methods import tasks as task_features
from mcp_server.engine.methods.lists import Lists
from mcp_server.identity import Principal, missing
from mcp_server.protocol import cursor, downgrade, errors, meta, methods, param_headers, revisions
from mcp_server.protocol.errors import RequestId, RpcError
from mcp_server.protocol.jsonrpc import Notification, Request
from mcp_server.protocol.meta import SERVER_INFO
from mcp_server.protocol.sealed import SealingKeys
from mcp_server.protocol.types.notifications import CANCELLED, SUBSCRIPTION_ID, CancelledParams, SetLevelParams
from mcp_server.registry.server import FALLBACK_SCOPES, ListKind, McpServer, Protected
from mcp_server.registry.threads import DEFAULT_SIZE, Threads
from mcp_server.registry.tool import Tool
from mcp_server.sessions.client_requests import ClientRequests
from mcp_server.sessions.in_flight import InFlightCalls
from mcp_server.sessions.session import Sessions
from mcp_server.sessions.subscriptions import SubscriptionLimits, Subscriptions
from mcp_server.sessions.tasks import Tasks
from mcp_server.sessions.tasks.record import TaskRecord
from mcp_server.store.backend import KEPT_BYTES, StateBackend
from mcp_server.store.events import Cancelled, Event, EventBus, ListChanged, ResourceUpdated
from mcp_server.store.memory import InMemoryBackend

ListMode = Literal["all", "granted"]
_decode_level = msgspec.json.Decoder(SetLevelParams).decode
_decode_cancelled = msgspec.json.Decoder(CancelledParams).decode
_decode_any = msgspec.json.Decoder().decode
_PERSONAL = frozenset(
    {
        "subscriptions/listen",
        "logging/setLevel",
        "resources/subscribe",
        "resources/unsubscribe",
        "tasks/get",
        "tasks/update",
        "tasks/cancel",
    }
)
"""Methods that keep something for their caller, and so need one even where strangers are served."""


class EngineConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What settings say; `state_keys` are secrets that all workers share, the first one seals.

    `whole` is whether what outlives a request is known to each worker: there is one, or they share a store.
    """

    state_keys: tuple[bytes, ...]
    default_scopes: frozenset[str] = FALLBACK_SCOPES
    listing: ListMode = "all"
    page_size: int = 100
    state_ttl_s: float = 600
    ask_timeout_s: float = 300
    task_ttl_s: float = 3600
    limits: SubscriptionLimits = SubscriptionLimits()
    sync_threads: int = DEFAULT_SIZE
    kept_bytes: int = KEPT_BYTES
    whole: bool = True


class Dispatcher:
    """One server, its registry compiled, and all that its calls share. Legacy sessions may be off."""

    def __init__(self, server: McpServer, config: EngineConfig, backend: StateBackend | None = None) -> None:
        self._server, self._default = server, config.default_scopes
        self._whole = config.whole
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._stopped = False
        self.bus = EventBus(backend or InMemoryBackend())
        self.sessions = Sessions(self.bus) if config.whole else None
        self.questions = ClientRequests(self.bus, config.ask_timeout_s)
        self.calls = InFlightCalls(self.bus)
        self.listeners = Subscriptions(self.bus, config.limits)
        self.tasks = Tasks(self.bus, config.task_ttl_s, config.kept_bytes)
        self._threads = Threads(config.sync_threads)
        self.server_meta = Raw(msgspec.json.encode({SERVER_INFO: server.info}))
        self._lists = Lists(
            server,
            self.scopes_of,
            SealingKeys(config.state_keys, cursor.PURPOSE),
            granted=config.listing == "granted",
            page_size=config.page_size,
        )
        keeper = RequestStateCodec(SealingKeys(config.state_keys, PURPOSE), self.bus.backend, config.state_ttl_s)
        tasks = self.tasks if config.whole else None
        self.invoker = Invoker(server, keeper, self.questions, tasks, self._threads, self.server_meta)
        self._finders: dict[str, Callable[[Call], Target | RpcError]] = {
            "prompts/get": self._find_prompt,
            "resources/read": lambda call: resources.named(server, call),
            "resources/subscribe": lambda call: resources.named(server, call),
        }
        self._advertise()
        server.watchers.append(self._changed)

    async def start(self) -> None:
        """Begin to hear the other workers."""
        self._loop, self._thread = asyncio.get_running_loop(), threading.get_ident()
        if self._stopped:  # an application can be started again, as tests do: in another loop, with nothing of the last
            self._stopped = False
            self._server.watchers.append(self._changed)
            self.listeners.start()
            self.tasks.restart()
            self._threads.start()
        await self.bus.backend.start(self.bus.receive)

    async def stop(self) -> None:
        """End streams and tasks as they should end, then hear no more."""
        self._stopped = True
        self._server.watchers.remove(self._changed)
        self.listeners.end_all()
        try:
            await self.tasks.stop()
        finally:
            self._threads.stop()
            await self.bus.backend.stop()

    def scopes_of(self, one: Protected) -> frozenset[str]:
        """What a tool, resource or prompt needs."""
        return self._server.scopes_of(one, self._default)

    def admit(self, call: Call) -> Admitted | NeedsScopes | RpcError:
        """Method known, target known, scopes held, client able: in this order, and nothing has run yet."""
        method = call.request.method
        if method not in (self._modern_methods if call.modern else self._legacy_methods):
            return errors.method_not_found(modern=call.modern)
        if method == "tools/call":
            return self._admit_tool(call)
        admitted = self._admit_other(call, method)
        level = level_named(call) if call.modern and isinstance(admitted, Admitted) else None
        return level if isinstance(level, RpcError) else admitted

    def _admit_other(self, call: Call, method: str) -> Admitted | NeedsScopes | RpcError:
        if method in _PERSONAL and call.principal is None:
            return NeedsScopes(frozenset())
        if method == "subscriptions/listen":
            return self._admit_listener(call)
        if method == "completion/complete":
            return self._admit_completion(call)
        finder = self._finders.get(method)
        return Admitted(call) if finder is None else self._with_scopes(call, finder(call))

    def readable(self, uris: list[str], principal: Principal | None) -> list[str]:
        """Those of these resources that exist and that the caller may read."""
        found = [(uri, resources.find(self._server, uri)) for uri in uris]
        return [uri for uri, one in found if one and not missing(self.scopes_of(one.resource), principal)]

    def listened(self, request_id: RequestId) -> dict[str, Any]:
        """The result of a subscription that ends."""
        meta = {SUBSCRIPTION_ID: request_id, SERVER_INFO: self._server.info}
        return {"resultType": downgrade.COMPLETE, "_meta": meta}

    def tool_name(self, call: Call) -> str:
        """The registered tool that a call names, or the empty text: never a caller's own words."""
        name = meta.text(call.peek.name) if call.request.method == "tools/call" else None
        return name if name in self._server.tools else ""

    async def run(self, admitted: Admitted) -> object | RpcError:
        """The result in the revision's shape, or the rejection that stands in its place."""
        call = admitted.call
        if call.request.method in methods.RUNS_HANDLER:
            return await self.invoker.run(admitted)
        return await self._answer(call)

    async def notified(self, notification: Notification, session: str) -> None:
        """A legacy client's notification; only cancellations matter, and those of nothing known are ignored."""
        if notification.method != CANCELLED:
            return
        try:
            cancelled = _decode_cancelled(notification.params)
        except errors.UNREADABLE:
            return
        await self.bus.publish(Cancelled(session, cancelled.request_id))

    @staticmethod
    def negotiated(request: Request) -> tuple[str, dict[str, Any]]:
        """What an `initialize` which succeeded has agreed on: revision and the client's capabilities."""
        return lifecycle.agreed(request.params)

    def _admit_tool(self, call: Call) -> Admitted | NeedsScopes | RpcError:
        name = meta.text(call.peek.name)
        tool = None if name is None else self._server.tools.get(name)
        if tool is None:
            return errors.invalid_params("unknown tool" if name else "name must be a text")
        needed = self._default if tool.scopes is None else tool.scopes
        if missing(needed, call.principal):
            return NeedsScopes(needed)
        if call.modern and (tool.demands or call.peek.meta.log_level is not UNSET):
            refused = self._unable(tool, call)
            if refused is not None:
                return refused
        return Admitted(call, tool, needed, tool.name)

    def _unable(self, tool: Tool, call: Call) -> RpcError | None:
        """What else a modern client must bring for a tool: capabilities, and headers that repeat parameters."""
        level = level_named(call)
        if isinstance(level, RpcError):
            return level
        if tool.requires and (lacking := tool.requires - call.capabilities().keys()):
            return errors.missing_capability({name: {} for name in sorted(lacking)})
        if tool.task == "required" and not task_features.declared(call):
            return errors.missing_capability(task_features.REQUIRED)
        if tool.param_headers and call.fields is not None:
            try:
                arguments = None if call.peek.arguments is UNSET else _decode_any(call.peek.arguments)
            except errors.UNREADABLE as error:
                return errors.invalid_params(str(error))
            return param_headers.check(tool.param_headers, call.fields, arguments, call.twice)
        return None

    def _admit_listener(self, call: Call) -> Admitted | NeedsScopes | RpcError:
        asked = listening.wanted(call)
        if isinstance(asked, RpcError):
            return asked
        return listening.needed(self._server, asked, call, self.scopes_of) or Admitted(call)

    def _admit_completion(self, call: Call) -> Admitted | NeedsScopes | RpcError:
        found = prompts.completed(self._server, call)
        if isinstance(found, RpcError):
            return found
        needed = self.scopes_of(found)
        return NeedsScopes(needed) if missing(needed, call.principal) else Admitted(call, None, needed)

    def _with_scopes(self, call: Call, target: Target | RpcError) -> Admitted | NeedsScopes | RpcError:
        if isinstance(target, RpcError):
            return target
        needed = self.scopes_of(target.resource if isinstance(target, ResourceMatch) else target)
        if missing(needed, call.principal):
            return NeedsScopes(needed)
        return Admitted(call, target, needed, target.resource.uri if isinstance(target, ResourceMatch) else target.name)

    def _find_prompt(self, call: Call) -> Target | RpcError:
        name = meta.text(call.peek.name)
        found = None if name is None else self._server.prompts.get(name)
        return errors.invalid_params("unknown prompt" if name else "name must be a text") if found is None else found

    async def _answer(self, call: Call) -> object | RpcError:
        match call.request.method:
            case "tools/list" | "prompts/list" | "resources/list" | "resources/templates/list":
                return self._lists.page(call, self.server_meta)
            case "server/discover":
                return self._discovered
            case "initialize":
                return lifecycle.initialize(self._server, call.request.params, self._legacy)
            case "ping":
                return {}
            case "subscriptions/listen":
                asked = listening.wanted(call)
                return asked if isinstance(asked, RpcError) else await self._listen(asked, call)
            case "tasks/get" | "tasks/update" | "tasks/cancel":
                return await self._answer_task(call)
            case _:
                return await self._answer_session(call)

    async def _listen(self, asked: Any, call: Call) -> listening.Opened:
        return await listening.listen(self._server, self.tasks, asked, call, self._may_call(call))

    async def _answer_task(self, call: Call) -> object | RpcError:
        if not task_features.declared(call):
            return errors.missing_capability(task_features.REQUIRED)
        result = await task_features.answer(self.tasks, call, self._may_call(call))
        return result if isinstance(result, RpcError) else downgrade.complete(result, call.revision, self.server_meta)

    def _may_call(self, call: Call) -> Callable[[TaskRecord], bool]:
        """Whether the caller holds what a task's tool needed when it began and needs now; one that is gone refuses."""

        def may_call(record: TaskRecord) -> bool:
            tool = self._server.tools.get(record.tool)
            return tool is not None and not missing(self.scopes_of(tool) | record.needed, call.principal)

        return may_call

    async def _answer_session(self, call: Call) -> object | RpcError:
        """`logging/setLevel`, `resources/subscribe` and `resources/unsubscribe`: what a session remembers."""
        if self.sessions is None or call.session is None:
            return errors.invalid_request("this method needs a session").for_request(call.request.id)
        if call.request.method == "logging/setLevel":
            try:
                level = _decode_level(call.request.params).level
            except errors.UNREADABLE as error:
                return errors.invalid_params(str(error))
            await self.sessions.change(call.session, lambda one: msgspec.structs.replace(one, log_level=level))
            return {}
        uri = meta.text(call.peek.uri)
        if uri is None:
            return errors.invalid_params("uri must be a text")
        wanted = call.request.method == "resources/subscribe"
        return await resources.subscribe(self.sessions, call.session, uri, wanted=wanted)

    def _changed(self, kind: ListKind, uri: str | None) -> None:
        """A handler's or an author's word that something changed, from whatever thread."""
        if uri is None:
            self._lists.changed()
            self._advertise()
        event: Event = ListChanged(kind) if uri is None else ResourceUpdated(uri)
        if self._loop is None:
            self.bus.deliver(event)
        elif self._thread == threading.get_ident():
            self.bus.publish_soon(event)
        else:
            self._loop.call_soon_threadsafe(self.bus.publish_soon, event)

    def _advertise(self) -> None:
        modern = lifecycle.capabilities(self._server, modern=True, whole=self._whole)
        self._legacy = lifecycle.capabilities(self._server, modern=False, whole=self._whole)
        self._modern_methods = methods.available(revisions.LATEST, lifecycle.gates(modern))
        self._legacy_methods = methods.available(revisions.NEWEST_LEGACY, lifecycle.gates(self._legacy))
        found = lifecycle.discover(self._server, modern, self.server_meta)
        self._discovered = Raw(msgspec.json.encode(found))
