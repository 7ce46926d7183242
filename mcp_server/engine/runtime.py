"""One server at run time: what all its calls share, opened with the application and closed with it."""

import asyncio
import functools
import threading
from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec
from msgspec import Raw

from mcp_server.authoring.interaction import PURPOSE, RequestStateCodec
from mcp_server.engine.admission import AdmissionPolicy
from mcp_server.engine.call import Call, Challenged
from mcp_server.engine.invoke import Invoker
from mcp_server.engine.methods import lifecycle, listening, logging, resources
from mcp_server.engine.methods import tasks as task_methods
from mcp_server.engine.methods.lists import Lists
from mcp_server.engine.methods.task_jobs import PURPOSE as JOBS_PURPOSE
from mcp_server.engine.methods.task_jobs import Codecs, TaskJobs
from mcp_server.engine.needs import ScopeConfig
from mcp_server.engine.outcome import Completed, Failed, Outcome, answered
from mcp_server.identity import ScopeRules
from mcp_server.limits.threads import DEFAULT_SIZE, Threads
from mcp_server.protocol import cursor, downgrade, errors
from mcp_server.protocol.errors import RequestId, RpcError
from mcp_server.protocol.jsonrpc import Notification
from mcp_server.protocol.meta import SERVER_INFO
from mcp_server.protocol.sealed import SealingKeys
from mcp_server.protocol.types.notifications import CANCELLED, SUBSCRIPTION_ID, CancelledParams
from mcp_server.registry.server import FALLBACK_SCOPES, ListKind, McpServer
from mcp_server.sessions.client_requests import ClientRequests
from mcp_server.sessions.in_flight import InFlightCalls
from mcp_server.sessions.session import Sessions
from mcp_server.sessions.subscriptions import SubscriptionLimits, Subscriptions
from mcp_server.sessions.tasks import Tasks
from mcp_server.sessions.tasks.leases import LeaseTimes
from mcp_server.sessions.tasks.record import GRACE_S
from mcp_server.store.backend import KEPT_BYTES, StateBackend
from mcp_server.store.events import CallCancelled, Event, EventBus, ListChanged, ResourceUpdated
from mcp_server.store.memory import InMemoryBackend
from mcp_server.store.revocations import Revocations

ListMode = Literal["all", "granted"]
_decode_cancelled = msgspec.json.Decoder(CancelledParams).decode


class EngineConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What settings say; `state_keys` are secrets that all workers share, the first one seals.

    `keys_stated` is whether an operator has named them: then the next server has them too.

    `whole` is whether what outlives a request is known to each worker: there is one, or they share a store.
    `security_schemes` is whether each tool lists how it is authorized, as ChatGPT wants to know it.
    """

    state_keys: tuple[bytes, ...]
    keys_stated: bool = True
    default_scopes: frozenset[str] = FALLBACK_SCOPES
    scope_rules: ScopeRules = ScopeRules()
    parameterized_scopes: bool = False
    listing: ListMode = "all"
    page_size: int = 100
    state_ttl_s: float = 600
    ask_timeout_s: float = 300
    task_ttl_s: float = 3600
    task_lease_s: float = 30
    subscriptions: SubscriptionLimits = SubscriptionLimits()
    sync_threads: int = DEFAULT_SIZE
    kept_bytes: int = KEPT_BYTES
    coordinated: bool = True
    security_schemes: bool = False


class Runtime:
    """What outlives a request and what answers one. Legacy sessions may be off."""

    def __init__(
        self,
        server: McpServer,
        config: EngineConfig,
        backend: StateBackend | None = None,
        *,
        extensions: Callable[[], frozenset[str]] = frozenset,
        revocations: Revocations | None = None,
    ) -> None:
        """`extensions` are asked for whenever a client asks what there is: those of authorization, over HTTP.

        `revocations` know which tokens are over, and bring the bus of the backend along where none is given.
        """
        self._server = server
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._stopped = False
        scopes = ScopeConfig(
            default=config.default_scopes, rules=config.scope_rules, parameterized=config.parameterized_scopes
        )
        self.policy = AdmissionPolicy(server, scopes, coordinated=config.coordinated, extensions=extensions)
        needs = self.policy.needs
        self.admit = self.policy.admit
        bus = EventBus(backend or InMemoryBackend()) if revocations is None or backend is not None else revocations.bus
        self.bus, self.revocations = bus, revocations or Revocations(bus)
        over = self.revocations.known.over
        self.sessions = Sessions(self.bus, over=over) if config.coordinated else None
        self.questions = ClientRequests(self.bus, config.ask_timeout_s)
        self.calls = InFlightCalls(self.bus)
        self.listeners = Subscriptions(self.bus, config.subscriptions, over=over)
        times = LeaseTimes(lease_s=config.task_lease_s)
        self.tasks = Tasks(self.bus, config.task_ttl_s, config.kept_bytes, times=times, over=over)
        self.tasks.same_keys = config.keys_stated
        self.revocations.followers |= {"streams": self.listeners.revoked, "tasks": self.tasks.revoked}
        self._threads = Threads(config.sync_threads)
        self.server_meta = Raw(msgspec.json.encode({SERVER_INFO: server.info}))
        keys = self._keys = [
            SealingKeys(config.state_keys, purpose) for purpose in (cursor.PURPOSE, PURPOSE, JOBS_PURPOSE)
        ]
        self._lists = Lists(
            server,
            needs.of,
            keys[0],
            granted=config.listing == "granted",
            page_size=config.page_size,
            rules=lambda: needs.rules,
            security_schemes=config.security_schemes,
        )
        codec = RequestStateCodec(keys[1], self.bus.backend, config.state_ttl_s)
        tasks = self.tasks if config.coordinated else None
        jobs = self._jobs = TaskJobs(keys[2], config.task_ttl_s + GRACE_S)
        self.invoker = Invoker(
            server, Codecs(codec, jobs), self.questions, tasks, self._threads, self.server_meta, needs
        )
        self.tasks.resumer = self.invoker
        self._discovered = self._discover()
        self._attach()

    def _attach(self) -> None:
        self._server.keepers.append(self._refresh)
        self._server.watchers.append(self._changed)

    def renew_keys(self, secrets: Sequence[bytes], *, stated: bool) -> None:
        """Seal and open with other state keys from now on; `stated` as `EngineConfig.keys_stated`."""
        for one in self._keys:
            one.renew(secrets)
        self.tasks.same_keys = stated

    async def start(self) -> None:
        """Begin to hear the other workers."""
        self._loop, self._thread = asyncio.get_running_loop(), threading.get_ident()
        if self._stopped:  # an application can be started again, as tests do: in another loop, with nothing of the last
            self._stopped = False
            self._attach()
            self.listeners.start()
            self.tasks.restart()
            self._threads.start()
        await self.bus.backend.start(self.bus.receive)
        await self.revocations.start()
        self.tasks.begin(offered=any(tool.task != "never" for tool in self._server.tools.values()))
        self.policy.needs.tell()

    async def stop(self) -> None:
        """End streams and tasks as they should end, then hear no more."""
        self._stopped = True
        self._server.watchers.remove(self._changed)
        self._server.keepers.remove(self._refresh)
        self.listeners.end_all()
        await self.revocations.stop()
        if self.sessions is not None:
            await self.sessions.stop()
        try:
            await self.tasks.stop()
        finally:
            self._threads.stop()
            await self.bus.stop()
            await self.bus.backend.stop()

    def listened(self, request_id: RequestId) -> dict[str, Any]:
        """The result of a subscription that ends."""
        meta = {SUBSCRIPTION_ID: request_id, SERVER_INFO: self._server.info}
        return {"resultType": downgrade.COMPLETE, "_meta": meta}

    async def notified(self, notification: Notification, conversation: str) -> None:
        """A client's notification; only cancellations matter, and those of nothing known are ignored."""
        if notification.method != CANCELLED:
            return
        try:
            cancelled = _decode_cancelled(notification.params)
        except errors.UNREADABLE:
            return
        await self.bus.publish(CallCancelled(conversation, cancelled.request_id))

    async def answer(self, call: Call) -> Outcome:
        """What becomes of a method behind which no author's code runs."""
        outcome: Outcome | RpcError
        match call.request.method:
            case "subscriptions/listen":
                readable = functools.partial(self.policy.readable, principal=call.principal)
                may_call = self.policy.may_hear(call)
                outcome = await listening.listen(self._server, self.tasks, call, readable=readable, may_call=may_call)
            case "tasks/get" | "tasks/update" | "tasks/cancel":
                outcome = await self._answer_task(call)
            case _:
                outcome = await self._result(call)
        if isinstance(outcome, RpcError):
            return Failed(outcome.for_request(call.request.id))
        return outcome

    async def _result(self, call: Call) -> Outcome | RpcError:
        match call.request.method:
            case "tools/list" | "prompts/list" | "resources/list" | "resources/templates/list":
                result: object = self._lists.page(call, self.server_meta)
            case "server/discover":
                self._keep_advertised()
                result = self._discovered
            case "initialize":
                self._keep_advertised()
                result = lifecycle.initialize(self._server, call.request.params, self.policy.legacy)
            case "ping":
                result = {}
            case _:
                result = await self._change_session(call)
        return result if isinstance(result, RpcError) else answered(call.request, result)

    async def _answer_task(self, call: Call) -> Outcome | RpcError:
        if not task_methods.declared(call):
            return errors.missing_capability(task_methods.REQUIRED)
        policy = self.policy
        found = await task_methods.answer(
            self.tasks, call, policy.may_call(call), policy.weak_login(call), self._jobs.renewed
        )
        if isinstance(found, Challenged):
            return found.denied(call.principal)
        if isinstance(found, RpcError):
            return found
        result, tool = found
        outcome = answered(call.request, downgrade.complete(result, call.revision, self.server_meta))
        return Completed(outcome.message, tool) if isinstance(outcome, Completed) else outcome

    async def _change_session(self, call: Call) -> dict[str, object] | RpcError:
        """`logging/setLevel`, `resources/subscribe` and `resources/unsubscribe`: what a session remembers."""
        if self.sessions is None or call.session is None:
            return errors.invalid_request("this method needs a session")
        if call.request.method == "logging/setLevel":
            return await logging.set_level(self.sessions, call.session, call.request.params)
        wanted = call.request.method == "resources/subscribe"
        return await resources.subscribe(self.sessions, call.session, call.peek.uri, wanted=wanted)

    def _changed(self, kind: ListKind, uri: str | None) -> None:
        """A handler's or an author's word that something changed, from whatever thread."""
        event: Event = ListChanged(kind) if uri is None else ResourceUpdated(uri)
        if self._loop is None:
            self.bus.deliver(event)
        elif self._thread == threading.get_ident():
            self.bus.publish_soon(event)
        else:
            self._loop.call_soon_threadsafe(self.bus.publish_soon, event)

    def _refresh(self) -> None:
        """The registry is another one, from whatever thread."""
        self._lists.changed()
        self._advertise()

    def _keep_advertised(self) -> None:
        if self.policy.outdated():
            self._advertise()

    def _advertise(self) -> None:
        self.policy.advertise()
        self._discovered = self._discover()

    def _discover(self) -> Raw:
        found = lifecycle.discover(self._server, self.policy.modern, self.server_meta)
        return Raw(msgspec.json.encode(found))
