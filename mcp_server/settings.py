"""Environment, .env and secret files → frozen values; every problem in one report (design §4).

The environment wins over `.env`, `MCP_X_FILE` gives the contents of a file for `MCP_X`, the files of `MCP_SECRETS_DIR`
stand for what neither names (every secret manager can mount them), and a name that starts with `MCP_` and is none of
ours is an error: a misspelt setting that is silently ignored is how a check gets lost. An empty value counts as none,
for a compose file cannot leave a variable out.
"""

import difflib
import json
import os
import secrets
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import BaseModel, BeforeValidator, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from mcp_server.auth.authenticator import AuthConfig
from mcp_server.auth.introspection import IntrospectionClient
from mcp_server.auth.policy import ALLOWED_ALGORITHMS, IssuerPolicy, KeyPolicy
from mcp_server.engine.dispatch import EngineConfig
from mcp_server.engine.listening import ListenLimits
from mcp_server.identity import ScopeRules
from mcp_server.observe.log import LogFormat
from mcp_server.web.intake import IntakePolicy
from mcp_server.web.proxy import Network, Proxies

PREFIX = "MCP_"
SECRETS_DIR = "MCP_SECRETS_DIR"
MIN_KEY = 32
DEVELOPMENT = "dev-only-"
"""How the secrets of the development realm begin; a server that strangers reach refuses them."""
PROCESS_KEY = "_MCP_SERVER_STATE_KEY"
"""Where `serve` leaves a random key for its workers when no `MCP_STATE_KEYS` are set."""
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


class SettingsError(Exception):
    """The configuration cannot be used; `problems` has a line for each reason."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def _words(value: Any) -> Any:
    """A list in JSON, or words between commas or blanks."""
    if isinstance(value, str) and not value.lstrip().startswith("["):
        return value.replace(",", " ").split()
    return _json(value)


def _json(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise ValueError("not valid JSON") from error


def _issuers(value: Any) -> Any:
    """One URL, or a JSON list of URLs and objects."""
    if isinstance(value, str):
        value = _json(value) if value.lstrip().startswith("[") else [value]
    return [{"issuer": one} if isinstance(one, str) else one for one in value]


def _networks(value: Any) -> Any:
    """Addresses and networks as `_words` has them."""
    found = []
    for word in _words(value):
        try:
            found.append(ip_network(word))
        except ValueError as error:
            raise ValueError(f"{word!r} is no address or network") from error
    return tuple(found)


Words = Annotated[frozenset[str], NoDecode, BeforeValidator(_words)]
WordMap = Annotated[dict[str, Words], NoDecode, BeforeValidator(_json)]


class IssuerSetting(BaseModel, extra="forbid"):
    """An item of `MCP_ISSUER`; what it leaves out comes from the general settings."""

    issuer: str
    audiences: Words = frozenset()
    algorithms: Words = frozenset()
    fetch_url: str | None = None
    opaque_tokens: bool = False

    @field_validator("issuer")
    @classmethod
    def _safe(cls, issuer: str) -> str:
        return safe_url(issuer)


def safe_url(url: str) -> str:
    """An absolute https URL, or http on loopback, without query and fragment; raises `ValueError`."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("must be an absolute http(s) URL without query or fragment")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise ValueError("must be https: plain http is for loopback only")
    return url


class Settings(BaseSettings):
    """Every setting, its type and its default; `docs/settings.md` says what each is for."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True)
    env_file: ClassVar[Path] = Path(".env")

    issuer: Annotated[tuple[IssuerSetting, ...], NoDecode, BeforeValidator(_issuers)] = Field(min_length=1)
    resource: str = "http://localhost:8000/mcp"
    audiences: Words = frozenset()
    algorithms: Words = frozenset({"RS256", "ES256"})
    default_scopes: Words = frozenset({"mcp:read"})
    challenge_scopes: Words | None = None
    scope_implies: WordMap = Field(default_factory=dict)
    role_scopes: WordMap = Field(default_factory=dict)
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
    allowed_origins: Words = frozenset()
    allowed_hosts: Words = frozenset()
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_networks)] = ()
    log_format: LogFormat = "json"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    audit_file: str = "-"
    audit_max_bytes: int = Field(50_000_000, ge=10_000)
    audit_keep: int = Field(5, ge=1, le=1000)
    metrics_scope: str = "mcp:admin"
    metrics_port: int | None = Field(None, ge=0, le=65535)
    documentation: str | None = None
    redis_url: SecretStr | None = None
    access_token: SecretStr | None = None
    state_keys: Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_words)] = ()
    state_ttl_s: float = Field(600, ge=10, le=86400)
    ask_timeout_s: float = Field(300, gt=0, le=86400)
    task_ttl_s: float = Field(3600, ge=10)
    call_timeout_s: float = Field(600, gt=0)
    keep_alive_s: float = Field(15, ge=0.1)
    page_size: int = Field(100, ge=1, le=1000)
    max_calls_per_principal: int = Field(256, ge=1)
    max_calls_per_second_per_principal: float = Field(100, gt=0)
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
        away = not _is_loopback(urlsplit(self.resource).hostname)
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
                )
                for one in self.issuer
            ),
            keys=KeyPolicy(ttl_s=self.jwks_ttl_s, stale_s=self.jwks_stale_s, cooldown_s=self.jwks_cooldown_s),
            rules=ScopeRules(implies=implies, role_scopes=self.role_scopes),
            own_client=client_id,
            introspection=IntrospectionClient(client_id, secret.get_secret_value()) if secret else None,
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
            limits=ListenLimits(self.max_streams_per_principal, self.max_streams),
            whole=self.workers == 1 or self.redis_url is not None,
        )

    def intake(self) -> IntakePolicy:
        """What `web/intake.py` needs of this: our own names are always allowed."""
        own = urlsplit(self.resource)
        hosts = {own.netloc.lower(), *_LOOPBACK, *(one.lower() for one in self.allowed_hosts)}
        origins = {
            f"{own.scheme}://{own.netloc}".lower(),
            *(one.lower() for one in self.allowed_origins),
        }
        return IntakePolicy(
            hosts=frozenset(one.encode() for one in hosts),
            origins=frozenset(one.encode() for one in origins),
            max_body=self.max_body_bytes,
            loopback_origins=_is_loopback(own.hostname),
        )

    def proxies(self) -> Proxies:
        """What `web/proxy.py` needs of this."""
        return Proxies(self.trusted_proxies)


def process_key() -> bytes:
    """A key that lives as long as this server; made by whoever asks first, it reaches processes started after that."""
    return os.environ.setdefault(PROCESS_KEY, secrets.token_urlsafe(32)).encode()


def _is_loopback(host: str | None) -> bool:
    return host in ("localhost", "127.0.0.1", "::1")


def names() -> list[str]:
    """The environment variables there are."""
    return [*(PREFIX + name.upper() for name in Settings.model_fields), SECRETS_DIR]


def load(environment: Mapping[str, str] | None = None, defaults: Mapping[str, str] | None = None) -> Settings:
    """The settings of this process; raises `SettingsError` with every problem at once.

    `defaults` stand where neither the environment nor `.env` says anything.
    """
    given = dict(os.environ if environment is None else environment)
    if environment is None and Settings.env_file.exists():
        in_file = dotenv_values(Settings.env_file)
        given = {**{name: value for name, value in in_file.items() if value is not None}, **given}
    given = {**(defaults or {}), **given}
    ours = {name: value for name, value in given.items() if name.startswith(PREFIX) and value}
    mounted, unreadable = _mounted(ours.pop(SECRETS_DIR, None))
    ours |= {name: value for name, value in mounted.items() if not {name, f"{name}_FILE"} & set(ours)}
    values, problems = _collect(ours)
    problems += unreadable
    try:
        settings = Settings(**values)
    except ValidationError as error:
        problems += [_problem(one) for one in error.errors()]
        raise SettingsError(problems) from error
    if problems:
        raise SettingsError(problems)
    return settings


def _mounted(folder: str | None) -> tuple[dict[str, str], list[str]]:
    """The settings that a folder holds, a file each, named like them; what else lies there is none of ours."""
    if folder is None:
        return {}, []
    try:
        files = [path for path in Path(folder).iterdir() if path.name.startswith(PREFIX) and path.is_file()]
        return {path.name: text for path in files if (text := path.read_text("utf-8").strip())}, []
    except (OSError, UnicodeDecodeError) as error:
        return {}, [f"{SECRETS_DIR}: cannot be read ({_why(error)})"]


def _why(error: OSError | UnicodeDecodeError) -> str:
    """What is wrong with a file, and nothing of what it holds."""
    return "not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error.strerror)


def _collect(given: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    known, values, problems = names(), {}, []
    for name, value in given.items():
        if name in known:
            values[name.removeprefix(PREFIX).lower()] = value
        elif name.endswith("_FILE") and name.removesuffix("_FILE") in known:
            try:
                values[name.removeprefix(PREFIX).removesuffix("_FILE").lower()] = Path(value).read_text("utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                problems.append(f"{name}: cannot be read ({_why(error)})")
        else:
            near = difflib.get_close_matches(name, known, 1, 0.5)
            hint = f"; did you mean {near[0]}?" if near else ""
            problems.append(f"{name}: no such setting{hint}")
    return values, problems


def _problem(error: Any) -> str:
    if not error["loc"]:
        return str(error["msg"].removeprefix("Value error, "))
    first, *rest = error["loc"]
    place = f"{PREFIX}{str(first).upper()}" + "".join(f"[{part}]" for part in rest)
    text = "is required" if error["type"] == "missing" else error["msg"].removeprefix("Value error, ")
    return f"{place}: {text}"
