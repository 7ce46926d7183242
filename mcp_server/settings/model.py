"""The settings as one frozen value: a group for each package, what lies between groups, what takes several of them."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import msgspec

from mcp_server.engine.runtime import EngineConfig
from mcp_server.observe.telemetry import environment
from mcp_server.observe.telemetry.environment import Asked
from mcp_server.observe.telemetry.exporting import Telemetry
from mcp_server.observe.tracing import Traces
from mcp_server.settings.group import Conflict, Group
from mcp_server.settings.groups.auth import AuthSettings
from mcp_server.settings.groups.engine import EngineSettings
from mcp_server.settings.groups.http import HttpSettings
from mcp_server.settings.groups.limits import LimitSettings
from mcp_server.settings.groups.network import NetworkSettings
from mcp_server.settings.groups.observe import ObserveSettings
from mcp_server.settings.groups.rest import RestSettings
from mcp_server.settings.groups.scopes import ScopeSettings
from mcp_server.settings.groups.sources import SourceSettings
from mcp_server.settings.groups.store import StoreSettings

if TYPE_CHECKING:
    from mcp_server.store.redis import RedisBackend


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Every setting, by the package it is for; only `load` makes one, for it alone has looked for conflicts."""

    auth: AuthSettings
    scopes: ScopeSettings
    http: HttpSettings
    limits: LimitSettings
    engine: EngineSettings
    store: StoreSettings
    rest: RestSettings
    network: NetworkSettings
    observe: ObserveSettings
    sources: SourceSettings

    def conflicts(self) -> Iterator[Conflict]:
        """What does not go together, within groups and between them."""
        for name in GROUPS:
            yield from getattr(self, name).conflicts()
        if self.observe.admin_port is not None and self.observe.admin_port == self.http.port:
            yield Conflict(("admin_port", "port"), "must differ from MCP_PORT")

    def shared_store(self) -> "RedisBackend | None":
        """The store that all workers share, still closed; None where none is named."""
        url = self.store.redis_url
        if url is None:
            return None
        from mcp_server.store.redis import RedisBackend  # noqa: PLC0415 - 10 MB, of no use to who has no Redis

        return RedisBackend(url.get_secret_value(), self.auth.resource, ca_file=self.network.route().ca_file)

    def engine_config(self) -> EngineConfig:
        """What `engine/` is made of."""
        engine = self.engine
        return EngineConfig(
            state_keys=engine.sealing_keys(),
            keys_stated=engine.keys_stated,
            default_scopes=self.scopes.default_scopes,
            scope_rules=self.scopes.rules(),
            parameterized_scopes=self.scopes.parameterized_scopes,
            listing=self.scopes.list,
            page_size=engine.page_size,
            state_ttl_s=engine.state_ttl_s,
            ask_timeout_s=engine.ask_timeout_s,
            task_ttl_s=engine.task_ttl_s,
            task_lease_s=engine.task_lease_s,
            subscriptions=self.limits.subscriptions(),
            sync_threads=self.limits.sync_threads,
            kept_bytes=self.limits.max_kept_bytes_per_principal,
            coordinated=self.coordinated,
            security_schemes=self.scopes.step_up != "challenge",
        )

    def telemetry(self, service: str, traces: Traces, asked: Asked | None = None) -> Telemetry:
        """What `OTEL_*` asks for, still closed; `service` is its name where nobody says another."""
        headers = self.observe.headers_of_telemetry()
        return Telemetry(asked or environment.read(os.environ), traces, self.network.route(), service, headers)

    @property
    def coordinated(self) -> bool:
        """Whether what outlives a request is known to each worker: there is one, or they share a store."""
        return self.http.workers == 1 or self.store.redis_url is not None


GROUPS: Final[dict[str, type[Group]]] = {field.name: field.type for field in msgspec.structs.fields(Settings)}
