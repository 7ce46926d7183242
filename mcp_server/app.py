"""The composition root: settings and an `McpServer` become a Litestar application; nobody else builds objects."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from litestar import Litestar, Request, Response, Router
from litestar.config.app import AppConfig
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler, asgi
from litestar.plugins import InitPlugin
from litestar.types import ASGIApp

from mcp_server import settings as settings_module
from mcp_server.advertised import LiveScopes
from mcp_server.auth import metadata
from mcp_server.auth.authenticator import Authenticator
from mcp_server.auth.binding import dpop
from mcp_server.auth.binding.shared_replays import SharedReplayTable
from mcp_server.auth.challenge import Challenger
from mcp_server.auth.issuer.fetch import Fetcher
from mcp_server.auth.logout import BackchannelLogout
from mcp_server.auth.metadata import ResourceDescription
from mcp_server.auth.refusals import AccessDeniedError
from mcp_server.engine import records
from mcp_server.engine.drain import Drain
from mcp_server.engine.limiting import Settles, SharedLimitLedger
from mcp_server.engine.pipeline import Pipeline
from mcp_server.engine.runtime import Runtime
from mcp_server.engine.supervisor import CallSupervisors
from mcp_server.observe import log, metrics
from mcp_server.observe.load import LoadGauges
from mcp_server.observe.log import logger
from mcp_server.observe.recorder import CallRecorder
from mcp_server.registry.server import McpServer
from mcp_server.rest.importing.configs import PreloadedApis, require_no_client
from mcp_server.rest.wire.grants import ClientAuth
from mcp_server.rotation import Parts, follow
from mcp_server.sessions.event_log import EventLog
from mcp_server.settings import Settings
from mcp_server.settings.live import LiveSettings
from mcp_server.store.backend import StateBackend
from mcp_server.store.memory import InMemoryBackend
from mcp_server.web import health, logout, render, wellknown
from mcp_server.web.authn import HostCheck, RouteAuthentication
from mcp_server.web.endpoint import Endpoint
from mcp_server.web.guards import STATE_KEY
from mcp_server.web.http_call import Services
from mcp_server.web.incoming.bodies import Bodies
from mcp_server.web.logout import LogoutEndpoint
from mcp_server.web.outgoing.closing import closing_while
from mcp_server.web.outgoing.sending import Outgoing
from mcp_server.web.step_up import StepUp

if TYPE_CHECKING:
    from mcp_server.rest.importing.live_apis import LiveApis
    from mcp_server.rest.offer.config import ApiConfig


class McpPlugin(InitPlugin):
    """Adds the MCP endpoint, its metadata, probes and counters to an existing Litestar application.

    `probes` (/healthz, /readyz) and `counters` (/metrics) can be left to the application's own. Of its routes only
    those behind `requires_scopes` are authenticated, and its `user` and `auth` are never replaced. `handed` and the
    folder `shared` are what `serve` gives its workers, and `replays` where they take proofs of possession without a
    store.
    """

    def __init__(
        self,
        server: McpServer,
        settings: Settings | None = None,
        *,
        probes: bool = True,
        counters: bool = True,
        handed: PreloadedApis | None = None,
        shared: Path | None = None,
        replays: SharedReplayTable | None = None,
    ) -> None:
        self._server = server
        self._settings = configured = settings or settings_module.load()
        self._probes, self._counters = probes, counters and configured.observe.admin_port is None
        backend = self._backend()
        rules = configured.scopes.rules(server.implied_scopes())
        trust = configured.auth.config(rules, configured.engine.sealing_keys())
        revocations = configured.auth.revocations(backend, shared)
        self.authenticator = Authenticator(
            trust,
            backend,
            fetcher=Fetcher(route=configured.network.route()),
            places=configured.auth.places(backend),
            revocations=revocations,
            replays=replays,
        )
        self._audit = audit = configured.observe.audit()
        revocations.write_down = lambda one: audit.write(records.revoked(one))
        self._traces = configured.observe.traces()
        self._telemetry = configured.telemetry(server.info.name, self._traces)
        self._apis = apis_behind(server, self._settings, self.authenticator, handed=handed)
        extensions = self.authenticator.extensions
        self.runtime = Runtime(server, configured.engine_config(), extensions=extensions, revocations=revocations)
        self._advertised = LiveScopes(server, configured)
        self._challenger = Challenger(metadata.url(configured.auth.resource), self._advertised, dpop.ALGORITHMS)
        supervisors = CallSupervisors()
        self.drain = Drain(self.runtime, supervisors)
        self.live = LiveSettings(configured)
        """Whose `renew` takes over what is rotated; `follow` is for who has a setting of that kind."""
        parts = Parts(
            authenticator=self.authenticator, runtime=self.runtime, telemetry=self._telemetry, apis=self._apis
        )
        follow(self.live, parts)
        self.on_begin: list[Callable[[], None]] = []
        self.on_start: list[Callable[[], None]] = []
        """Called in the loop that serves, before anything is opened and when everything is."""
        self._opened: AsyncExitStack | None = None
        self._closing: asyncio.Task[None] | None = None
        self._services = self._make_services(supervisors)
        self.endpoint = Endpoint(
            self._services,
            self.authenticator,
            configured.http.policy(configured.auth.resource),
            resource=configured.auth.resource,
            lazy=lambda: self._advertised().public,
        )

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Litestar's hook."""
        configured = self._settings
        own, path = urlsplit(configured.auth.resource), configured.http.path
        authentication = RouteAuthentication(
            self.authenticator,
            self._audit,
            self._services.proxies,
            origin=f"{own.scheme}://{own.netloc}",
            traces=self._traces,
        )
        described = wellknown.routes(self._describe, wellknown.places({own.path.rstrip("/"), path} - {""}))
        plain = self._make_probes() if self._probes else []
        if self._counters:
            plain.append(health.counters(configured.observe.metrics_scope))
        plain += logout.routes(self._make_logout(), path)
        app_config.route_handlers.append(asgi(path, copy_scope=False)(self.endpoint))
        app_config.route_handlers += [
            self._router(handlers, authentication, listed=listed)
            for handlers, listed in ((described, True), (plain, False))
            if handlers
        ]
        app_config.state[STATE_KEY] = authentication
        app_config.exception_handlers = {**app_config.exception_handlers, AccessDeniedError: self._refuse}
        app_config.lifespan.append(self._lifespan)
        return app_config

    def _router(self, handlers: list[HTTPRouteHandler], authentication: RouteAuthentication, *, listed: bool) -> Router:
        policy = self._settings.http.policy(self._settings.auth.resource)

        def check(app: ASGIApp) -> HostCheck:  # a function, for Litestar copies a router and all that hangs on it
            return HostCheck(app, authentication, policy, listed=listed)

        return Router("/", route_handlers=handlers, middleware=[check])

    def _make_probes(self) -> list[HTTPRouteHandler]:
        return health.probes(self.readiness)

    def readiness(self) -> dict[str, object]:
        """What this worker's /readyz says."""
        return health.readiness(self.authenticator, self._audit, self._broken_apis, lambda: self.drain.draining)

    def _make_logout(self) -> LogoutEndpoint:
        asked = self.authenticator
        own = self._settings.auth.own_id()
        taking = BackchannelLogout(asked.issuers, asked.revocations, self.runtime.bus.backend, own)
        return LogoutEndpoint(taking, self._audit, self._services.proxies)

    def _make_services(self, supervisors: CallSupervisors) -> Services:
        configured = self._settings
        policy, in_flight = configured.http.policy(configured.auth.resource), configured.http.bodies()
        backend = self.runtime.bus.backend
        ledger = SharedLimitLedger(backend) if isinstance(backend, Settles) else None
        limits = configured.limits.pipeline(configured.engine.call_timeout_s, ledger, configured.http.workers)
        return Services(
            pipeline=Pipeline(self.runtime, limits, CallRecorder(self._audit, self._traces), supervisors, self._traces),
            challenger=self._challenger,
            audit=self._audit,
            events=EventLog(self.runtime.bus, configured.limits.max_kept_bytes_per_principal),
            step_up=StepUp(configured.scopes.step_up, configured.scopes.step_up_url),
            bodies=Bodies(policy, in_flight),
            outgoing=Outgoing(in_flight, policy.max_body, policy.body_timeout_s, self.drain),
            proxies=configured.http.proxies(),
            keep_alive_s=configured.http.keep_alive_s,
        )

    def _broken_apis(self) -> Mapping[str, str]:
        return self._apis.problems if self._apis else {}

    def _backend(self) -> StateBackend:
        return self._settings.shared_store() or InMemoryBackend()

    def _tell_what_is_not_there(self) -> None:
        if gone := self._settings.limits.unknown(self._server.tools):
            logger.warning("MCP_LIMITS names tools that the server does not have", tools=sorted(gone))
        bounds = {name: tool.bounds for name, tool in self._server.tools.items()}
        for name, cost, quota in self._settings.limits.unaffordable(bounds):
            logger.warning("calls of a tool cost more than a quota of all calls has", name=name, cost=cost, quota=quota)
        scopes, server = self._settings.scopes, self._server
        if unknown := scopes.undeclared(server.declared_scopes(scopes.default_scopes).union(server.scopes)):
            logger.warning("MCP_CHALLENGE_SCOPES names scopes that the server does not declare", scopes=sorted(unknown))

    def _describe(self) -> ResourceDescription:
        configured = self._settings
        first = next(iter(self.authenticator.issuers.values()))
        return ResourceDescription(
            resource=configured.auth.resource,
            issuers=tuple(self.authenticator.issuers),
            scopes=self._advertised().login,
            name=self._server.info.title or self._server.info.name,
            documentation=configured.http.documentation,
            introspection_endpoint=first.metadata.public_introspection_endpoint if first.metadata else None,
            dpop_algorithms=dpop.ALGORITHMS,
        )

    def _refuse(self, _: Request[Any, Any, Any], error: AccessDeniedError) -> Response[bytes]:
        metrics.refused(error.refusal.reason.slug)
        answer = render.refused(error.refusal, self._challenger)
        headers = {name.decode(): value.decode() for name, value in answer.headers}
        return Response(answer.body, status_code=answer.status, headers=headers)

    @asynccontextmanager
    async def _lifespan(self, _: Litestar) -> AsyncIterator[None]:
        """Open what has a file, a socket or a task, and close it in the reverse order, whatever fails on the way.

        Each is closed also where its own start failed half way. It can begin again: constructors open nothing.
        """
        for begin in self.on_begin:
            begin()
        async with AsyncExitStack() as opened:
            opened.callback(log.flush)  # last: a worker is ended without what Python does at an exit
            opened.callback(self._audit.close)
            self._audit.open()
            opened.push_async_callback(self._telemetry.stop)
            self._telemetry.start()
            opened.callback(metrics.hand_on)
            opened.push_async_callback(self.authenticator.stop)
            await self.authenticator.start()
            if self._apis is not None:
                opened.push_async_callback(self._apis.stop)
                await self._apis.start()
            opened.push_async_callback(self.runtime.stop)
            await self.runtime.start()
            opened.push_async_callback(self._services.pipeline.stop)
            opened.push_async_callback(self.drain.finish_tasks)
            self._tell_what_is_not_there()
            opened.enter_context(LoadGauges(self._services.pipeline.load))
            for begin in self.on_start:
                begin()
            self._opened = opened
            try:
                yield
            finally:
                self._opened, closing, self._closing = None, self._closing, None
                if closing is not None:  # what it has not come to yet must not be closed beside it, nor the loop end
                    await asyncio.wait([closing])

    async def close_now(self) -> bool:
        """Close everything though the web server still waits for connections; false where it is being closed already.

        What was audited and counted is written then, whatever a client does with its connection. The last one may end
        meanwhile: the web server's own end waits for this one.
        """
        opened, self._opened = self._opened, None
        if opened is None:
            return False
        self._closing = closing = asyncio.get_running_loop().create_task(opened.aclose())
        await closing
        return True


def apis_behind(
    server: McpServer,
    settings: Settings,
    authenticator: Authenticator | None = None,
    *,
    sends: bool = True,
    handed: PreloadedApis | None = None,
    apis: "Sequence[ApiConfig] | None" = None,
) -> "LiveApis | None":
    """The APIs behind a server, still closed; None where there are none. Raises `ConfigError`.

    Who only wants to know what would be offered needs no authenticator, and no secret where nothing `sends`; nor does
    who has validated the `apis` already. What was `handed` down stands for what the settings, `mcp.toml` and the
    documents say by now.
    """
    if not (server.imports or settings.rest.imports):
        return None
    from mcp_server.rest.importing import composition  # noqa: PLC0415 - who imports nothing has no use for its 20 MB

    if apis is None:
        apis = settings.rest.apis(server.imports) if handed is None else handed.apis
        if sends and settings.auth.client_secret is None:
            require_no_client(apis)
    wanted = composition.ApiSettings(
        client=ClientAuth(client_id=settings.auth.own_id(), secret=settings.auth.secret()),
        issuer=settings.auth.issuer[0].issuer if settings.auth.issuer else "",
        default_scopes=settings.scopes.default_scopes,
        secrets=settings.rest.secrets(),
        call_timeout_s=settings.engine.call_timeout_s,
        granted=settings.scopes.list == "granted",
        watching=composition.watching(settings.rest.openapi_reload_s, None if handed is None else handed.folder),
        route=settings.network.route(),
    )
    return composition.live_apis(server, apis, wanted, authenticator)


def create_app(server: McpServer, settings: Settings | None = None) -> Litestar:
    """A Litestar application that serves nothing but this server; settings come from the environment by default."""
    return _serving(McpPlugin(server, settings))


def _serving(plugin: McpPlugin) -> Litestar:
    return Litestar(
        plugins=[plugin],
        openapi_config=None,
        logging_config=None,
        exception_handlers={Exception: _say_little},
    )


class FastPathApp:
    """`create_app`'s application with the MCP endpoint answered before Litestar's routing; what `serve` runs.

    The endpoint is the one that Litestar has mounted, so nothing differs but the way there: on one core 30,900 calls a
    second against 24,500 through the router.
    """

    def __init__(
        self,
        server: McpServer,
        settings: Settings,
        handed: PreloadedApis | None = None,
        shared: Path | None = None,
        replays: SharedReplayTable | None = None,
    ) -> None:
        self.plugin = McpPlugin(server, settings, handed=handed, shared=shared, replays=replays)
        self._app = _serving(self.plugin)
        self._endpoint, self._drain = self.plugin.endpoint, self.plugin.drain
        self._path = settings.http.path

    def __call__(self, scope: Any, receive: Any, send: Any) -> Awaitable[None]:
        """The ASGI callable: the coroutine of whoever answers."""
        if scope["type"] == "http" and scope["path"] == self._path:  # it says itself that it drains
            return self._endpoint(scope, receive, send)
        return self._app(scope, receive, closing_while(self._drain, send))


def _say_little(_: Request[Any, Any, Any], error: Exception) -> Response[dict[str, str]]:
    """What a stranger learns of an error on a plain HTTP route: its status and a word."""
    if isinstance(error, HTTPException) and error.status_code < 500:
        words = {404: "not found", 405: "method not allowed"}
        said = {"error": words.get(error.status_code, "bad request")}
        return Response(said, status_code=error.status_code, headers=error.headers)  # `Allow` of a 405 among them
    logger.opt(exception=error).error("request failed")
    return Response({"error": "internal error"}, status_code=500)
