"""The settings as one frozen value, its cross-field checks, and what each package below needs of it."""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, ClassVar, Final, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from mcp_server.auth.authenticator import AuthConfig
from mcp_server.auth.policy import ALLOWED_ALGORITHMS, IssuerPolicy, KeyPolicy
from mcp_server.auth.tokens.bearer import MAX_TOKEN
from mcp_server.auth.tokens.introspection import IntrospectionClient
from mcp_server.engine.pipeline import Limits
from mcp_server.engine.runtime import EngineConfig
from mcp_server.identity import ScopeRules
from mcp_server.limits.concurrency import ConcurrencyLimiter
from mcp_server.limits.rate import RateLimiter
from mcp_server.observe.audit import AuditLog, OnFail
from mcp_server.observe.log import LogFormat
from mcp_server.sessions.subscriptions import SubscriptionLimits
from mcp_server.settings.values import IssuerSetting, WordMap, Words, is_loopback, issuers, networks, safe_url, words
from mcp_server.web.client_address import Network, TrustedProxies
from mcp_server.web.request_guard import HttpPolicy

PREFIX: Final = "MCP_"
MIN_KEY: Final = 32
DEVELOPMENT: Final = "dev-only-"
"""How the secrets of the development realm begin; a server that strangers reach refuses them."""
PROCESS_KEY: Final = "_MCP_SERVER_STATE_KEY"
"""Where `serve` leaves a random key for its workers when no `MCP_STATE_KEYS` are set."""
_LOOPBACK: Final = ("localhost", "127.0.0.1", "[::1]")


MESSAGES_A_CALL: Final = 10
"""Messages that begin no handler are cheap: so many a second for each call, and so many at least."""


class Settings(BaseSettings):
    """Every setting, its type and its default; `docs/settings.md` says what each is for."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True)
    env_file: ClassVar[Path] = Path(".env")

    issuer: Annotated[tuple[IssuerSetting, ...], NoDecode, BeforeValidator(issuers)] = Field(min_length=1)
    resource: str = "http://localhost:8000/mcp"
    audiences: Words = frozenset()
    algorithms: Words = frozenset({"RS256", "ES256"})
    default_scopes: Words = frozenset({"mcp:read"})
    challenge_scopes: Words | None = None
    scope_implies: WordMap = Field(default_factory=dict)
    role_scopes: WordMap = Field(default_factory=dict)
    service_clients: Words = frozenset()
    client_id: str | None = None
    client_secret: SecretStr | None = None
    issuer_fetch_url: str | None = None
    jwks_ttl_s: float = Field(3600, gt=0)
    jwks_stale_s: float = Field(86400, gt=0)
    jwks_cooldown_s: float = Field(30, ge=1)
    leeway_s: int = Field(30, ge=0, le=120)
    step_up: Literal["challenge", "error"] = "challenge"
    list: Literal["all", "granted"] = "all"
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    path: str = Field("/mcp", pattern=r"^/[A-Za-z0-9._~/-]*$")
    workers: int = Field(1, ge=1, le=256)
    max_body_bytes: int = Field(4 * 1024 * 1024, ge=1024)
    max_token_bytes: int = Field(MAX_TOKEN, ge=4096, le=65536)
    body_timeout_s: float = Field(30, gt=0)
    max_bytes_in_flight: int = Field(64 * 1024 * 1024, ge=1024)
    max_bytes_in_flight_per_principal: int = Field(16 * 1024 * 1024, ge=1024)
    allowed_origins: Words = frozenset()
    allowed_hosts: Words = frozenset()
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode, BeforeValidator(networks)] = ()
    log_format: LogFormat = "json"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    audit_file: str = "-"
    audit_max_bytes: int = Field(50_000_000, ge=10_000)
    audit_keep: int = Field(5, ge=1, le=1000)
    audit_on_fail: OnFail = "drop"
    metrics_scope: str = "mcp:admin"
    metrics_port: int | None = Field(None, ge=0, le=65535)
    documentation: str | None = None
    redis_url: SecretStr | None = None
    access_token: SecretStr | None = None
    state_keys: Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(words)] = ()
    state_ttl_s: float = Field(600, ge=10, le=86400)
    ask_timeout_s: float = Field(300, gt=0, le=86400)
    task_ttl_s: float = Field(3600, ge=10)
    call_timeout_s: float = Field(600, gt=0)
    keep_alive_s: float = Field(15, ge=0.1)
    page_size: int = Field(100, ge=1, le=1000)
    max_calls_per_principal: int = Field(256, ge=1)
    max_calls_per_second_per_principal: float = Field(100, gt=0)
    sync_threads: int = Field(40, ge=1, le=1000)
    max_kept_bytes_per_principal: int = Field(16 * 1024 * 1024, ge=10_000)
    max_streams: int = Field(10_000, ge=1)
    max_streams_per_principal: int = Field(64, ge=1)

    @field_validator("state_keys")
    @classmethod
    def _long(cls, keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if any(len(key.get_secret_value()) < MIN_KEY for key in keys):
            raise ValueError(f"each must have at least {MIN_KEY} characters: openssl rand -base64 32")
        return keys

    @field_validator("resource")
    @classmethod
    def _safe_resource(cls, resource: str) -> str:
        return safe_url(resource)

    @field_validator("algorithms")
    @classmethod
    def _asymmetric(cls, algorithms: frozenset[str]) -> frozenset[str]:
        if not algorithms or not algorithms <= ALLOWED_ALGORITHMS:
            raise ValueError(f"must be among {', '.join(sorted(ALLOWED_ALGORITHMS))}")
        return algorithms

    @model_validator(mode="after")
    def _no_secret_of_development(self) -> "Settings":
        """What a public repository tells everyone guards nothing that others reach."""
        secret = self.client_secret
        away = not is_loopback(urlsplit(self.resource).hostname)
        if away and secret and secret.get_secret_value().startswith(DEVELOPMENT):
            raise ValueError(f"MCP_CLIENT_SECRET is a secret of development ({DEVELOPMENT}...): make another")
        return self

    @model_validator(mode="after")
    def _one_issuer_is_asked(self) -> "Settings":
        """An opaque token says nothing of its issuer: asking several would show each of them the others' tokens."""
        if self.client_secret and len(self.issuer) > 1 and sum(one.opaque_tokens for one in self.issuer) != 1:
            raise ValueError('MCP_CLIENT_SECRET: of several issuers exactly one must say "opaque_tokens": true')
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *_: PydanticBaseSettingsSource,
        **__: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what `load` collected: one reading of the environment, which can be checked as a whole."""
        return (init_settings,)

    def auth(self, implied: Mapping[str, frozenset[str]] = MappingProxyType({})) -> AuthConfig:
        """What `auth/` needs of this; `implied` are the server's own implications, to which the setting adds."""
        implies = {
            scope: frozenset(implied.get(scope, ())) | self.scope_implies.get(scope, frozenset())
            for scope in {**implied, **self.scope_implies}
        }
        audiences = self.audiences | {self.resource}
        client_id = self.client_id or self.resource
        secret = self.client_secret
        return AuthConfig(
            issuers=tuple(
                IssuerPolicy(
                    issuer=one.issuer,
                    audiences=one.audiences or audiences,
                    algorithms=one.algorithms or self.algorithms,
                    leeway_s=self.leeway_s,
                    fetch_url=one.fetch_url or self.issuer_fetch_url,
                    introspects=one.opaque_tokens or len(self.issuer) == 1,
                    persons=one.persons,
                    service_clients=one.service_clients or self.service_clients,
                )
                for one in self.issuer
            ),
            keys=KeyPolicy(ttl_s=self.jwks_ttl_s, stale_s=self.jwks_stale_s, cooldown_s=self.jwks_cooldown_s),
            rules=ScopeRules(implies=implies, role_scopes=self.role_scopes),
            client_id=client_id,
            introspection=IntrospectionClient(client_id, secret.get_secret_value()) if secret else None,
            max_token=self.max_token_bytes,
        )

    def engine(self) -> EngineConfig:
        """What `engine/` needs of this."""
        return EngineConfig(
            state_keys=tuple(key.get_secret_value().encode() for key in self.state_keys) or (process_key(),),
            default_scopes=self.default_scopes,
            listing=self.list,
            page_size=self.page_size,
            state_ttl_s=self.state_ttl_s,
            ask_timeout_s=self.ask_timeout_s,
            task_ttl_s=self.task_ttl_s,
            subscriptions=SubscriptionLimits(self.max_streams_per_principal, self.max_streams),
            sync_threads=self.sync_threads,
            kept_bytes=self.max_kept_bytes_per_principal,
            whole=self.workers == 1 or self.redis_url is not None,
        )

    def intake(self) -> HttpPolicy:
        """What `web/request_guard.py` needs of this: our own names are always allowed."""
        own = urlsplit(self.resource)
        hosts = {own.netloc.lower(), *_LOOPBACK, *(one.lower() for one in self.allowed_hosts)}
        origins = {
            f"{own.scheme}://{own.netloc}".lower(),
            *(one.lower() for one in self.allowed_origins),
        }
        return HttpPolicy(
            hosts=frozenset(one.encode() for one in hosts),
            origins=frozenset(one.encode() for one in origins),
            max_body=self.max_body_bytes,
            body_timeout_s=self.body_timeout_s,
            loopback_origins=is_loopback(own.hostname),
        )

    def limits(self) -> Limits:
        """What one caller may do with the pipeline."""
        per_second = self.max_calls_per_second_per_principal
        return Limits(
            calls=ConcurrencyLimiter(self.max_calls_per_principal),
            rate=RateLimiter(per_second),
            messages=RateLimiter(max(MESSAGES_A_CALL * per_second, MESSAGES_A_CALL)),
            call_timeout_s=self.call_timeout_s,
        )

    def audit(self) -> AuditLog:
        """Where decisions are written."""
        return AuditLog(
            self.audit_file, max_bytes=self.audit_max_bytes, keep=self.audit_keep, on_fail=self.audit_on_fail
        )

    def bodies(self) -> ConcurrencyLimiter:
        """What `web/bodies.py` counts bytes by: a caller, or all, that could not send one body could send none."""
        each = max(self.max_bytes_in_flight_per_principal, self.max_body_bytes)
        return ConcurrencyLimiter(each, max(self.max_bytes_in_flight, each), least=self.max_body_bytes)

    def proxies(self) -> TrustedProxies:
        """What `web/client_address.py` needs of this."""
        return TrustedProxies(self.trusted_proxies)


def process_key() -> bytes:
    """A key that lives as long as this server; made by whoever asks first, it reaches processes started after that."""
    return os.environ.setdefault(PROCESS_KEY, secrets.token_urlsafe(32)).encode()
