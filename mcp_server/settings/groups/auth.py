"""What `auth/` needs: issuers, the audience, keys, and who we are to the issuer ourselves."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from mcp_server.auth.authenticator import AuthConfig
from mcp_server.auth.issuer.snapshot import BackendSnapshotStore, FolderSnapshotStore, SnapshotStore
from mcp_server.auth.persons import Persons
from mcp_server.auth.policy import ALLOWED_ALGORITHMS, MAX_LEEWAY_S, IssuerPolicy, KeyPolicy
from mcp_server.auth.tokens.bearer import MAX_TOKEN
from mcp_server.auth.tokens.introspection import IntrospectionClient
from mcp_server.identity import ScopeRules
from mcp_server.settings.addresses import is_loopback
from mcp_server.settings.group import Conflict, Group, Kind, Shown
from mcp_server.settings.values import (
    ClientId,
    Hidden,
    IssuerFetchUrl,
    IssuerUrl,
    OneLine,
    PublicUrl,
    Words,
    json_like,
)
from mcp_server.store.backend import StateBackend
from mcp_server.store.events import EventBus
from mcp_server.store.folder import FolderLedger
from mcp_server.store.revocations import RevocationLedger, Revocations, StoreLedger

DEVELOPMENT: Final = "dev-only-"
"""How the secrets of the development realm begin; a server that strangers reach refuses them."""


_SEVERAL: Final = json_like('["https://a.example.com/realms/one", {"issuer": "https://b.example.com"}]')


def _issuers(value: Any) -> Any:
    """One URL, or a JSON list of URLs and objects; several URLs, or an object, are in a list."""
    if isinstance(value, str):
        text = value.strip()
        listed = text.startswith(("[", "{", '"')) or sum("://" in word for word in text.replace(",", " ").split()) > 1
        value = _SEVERAL(value) if listed else [value]
    found = value if isinstance(value, list) else [value]
    return [{"issuer": one} if isinstance(one, str) else one for one in found]


def _asymmetric(algorithms: frozenset[str]) -> frozenset[str]:
    if not algorithms <= ALLOWED_ALGORITHMS:
        raise ValueError(f"must be among {', '.join(sorted(ALLOWED_ALGORITHMS))}")
    return algorithms


Algorithms = Annotated[Words, AfterValidator(_asymmetric)]


class IssuerSetting(BaseModel):
    """An item of `MCP_ISSUER`; what it leaves out comes from the general settings."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    issuer: IssuerUrl
    audiences: Words = frozenset()
    algorithms: Algorithms = frozenset()
    fetch_url: IssuerFetchUrl | None = None
    opaque_tokens: bool = False
    persons: Persons = "keycloak"
    service_clients: Words = frozenset()
    logout_clients: Words = frozenset()


class AuthSettings(Group):
    """Whose tokens are accepted."""

    title: ClassVar[str] = "Who is calling"

    issuer: Annotated[tuple[IssuerSetting, ...], BeforeValidator(_issuers), Kind("URL, or JSON"), Shown("required")] = (
        Field(
            (),
            description="the issuer's URL to the letter of its tokens' `iss`; or a JSON list of URLs and of objects "
            "with `issuer`, `audiences`, `algorithms`, `fetch_url`, `opaque_tokens`, `persons` (how its "
            "tokens show that a person stands behind them: `keycloak`, the default, or `rfc9068`), "
            "`service_clients`, `logout_clients`",
        )
    )
    resource: PublicUrl = Field(
        "http://localhost:8000/mcp",
        description="the public URL of the endpoint; the audience every token must carry. Unless it is given, "
        "`MCP_PORT` and `MCP_PATH` on localhost",
    )
    audiences: Words = Field(frozenset(), description="further accepted audiences")
    algorithms: Annotated[Algorithms, Field(min_length=1)] = Field(
        frozenset({"RS256", "ES256"}),
        description="asymmetric signature algorithms; HS* and none cannot be named",
    )
    leeway_s: int = Field(30, ge=0, le=MAX_LEEWAY_S, description="tolerated difference of clocks")
    max_token_bytes: int = Field(
        MAX_TOKEN,
        ge=4096,
        le=65536,
        description="a larger token gets 431. A proxy in front must take header lines of this size and some more",
    )
    issuer_fetch_url: Annotated[IssuerFetchUrl | None, Shown("the issuer")] = Field(
        None,
        description="where the issuer is reached from here, if elsewhere than clients reach it; of several issuers "
        "each has a `fetch_url` of its own",
    )
    jwks_ttl_s: float = Field(3600, gt=0, description="keys are renewed before this age")
    jwks_stale_s: float = Field(
        86400,
        gt=0,
        description="how long known keys serve while the issuer is away; not less than `MCP_JWKS_TTL_S`",
    )
    jwks_folder: Annotated[Path | None, Shown("one that ends with the server")] = Field(
        None,
        description="where keys are kept, sealed, so that a worker that starts while the issuer is away begins with "
        "them, within `MCP_JWKS_STALE_S`; name one, and `MCP_STATE_KEYS`, for starts of the server itself. They are "
        "kept in `MCP_REDIS_URL`, too",
    )
    jwks_cooldown_s: float = Field(30, ge=1, description="unknown keys cause at most two fetches in this time")
    client_id: Annotated[ClientId | None, Shown("the resource")] = Field(
        None, description="who we are to the issuer; its client roles count, too"
    )
    client_secret: OneLine | None = Field(
        None,
        description="what a token exchange is asked with; switches introspection of opaque tokens on, at the one "
        "issuer or, of several, at the one with "
        '`"opaque_tokens": true`; one of development (`dev-only-...`) is refused unless `MCP_RESOURCE` is loopback',
    )
    service_clients: Words = Field(
        frozenset(),
        description="the clients that may call for themselves (client credentials); a token that no person stands "
        "behind is refused with 403 unless its client is here",
    )
    logout_clients: Words = Field(
        frozenset(),
        description="the clients that people sign in with and whose back-channel logouts the issuer sends to "
        "`/mcp/backchannel-logout`, beside `MCP_CLIENT_ID`; see operate.md",
    )
    revocation_s: float = Field(
        86400,
        ge=60,
        description="how long a revocation is remembered: not less than access tokens live, or one that was revoked "
        "would be good again",
    )
    access_token: OneLine | None = Field(
        None,
        description="for `mcp-server stdio`: whose token the process acts with; without one the user of the desktop "
        "may do everything",
    )

    def conflicts(self) -> Iterator[Conflict]:
        """What would let nobody in, or the wrong ones."""
        if not self.issuer:
            yield Conflict(
                ("issuer",), "is required: the URL of the issuer, such as https://keycloak.example.com/realms/NAME"
            )
        if self.jwks_stale_s < self.jwks_ttl_s:
            # Keys that are given up before they are renewed: between two fetches the server would not be ready.
            yield Conflict(("jwks_stale_s", "jwks_ttl_s"), "must not be less than MCP_JWKS_TTL_S")
        yield from self._same_issuers()
        asked = sum(one.opaque_tokens for one in self.issuer)
        if self.client_secret and len(self.issuer) > 1 and asked != 1:
            # An opaque token says nothing of its issuer: asking several would show each of them the others' tokens.
            text = 'of several issuers exactly one must say "opaque_tokens": true'
            yield Conflict(("client_secret", "issuer"), text)
        if not is_loopback(urlsplit(self.resource).hostname) and self.secret().startswith(DEVELOPMENT):
            # What a public repository tells everyone guards nothing that others reach.
            text = f"is a secret of development ({DEVELOPMENT}...): make another"
            yield Conflict(("client_secret", "resource"), text)

    def _same_issuers(self) -> Iterator[Conflict]:
        """A document names one issuer (RFC 8414 §3.3), so that of two which share an address one never has keys."""
        named = Counter(one.issuer for one in self.issuer)
        yield from (Conflict(("issuer",), f"{url} stands there twice") for url, times in named.items() if times > 1)
        fetched: dict[str, set[str]] = {}
        for one in self.issuer:
            address = one.fetch_url or self.issuer_fetch_url or one.issuer
            fetched.setdefault(address.rstrip("/"), set()).add(one.issuer)
        for address, issuers in fetched.items():
            if len(issuers) > 1:
                text = f"{' and '.join(sorted(issuers))} would both be fetched from {address}: give each a fetch_url"
                yield Conflict(("issuer_fetch_url" if self.issuer_fetch_url else "issuer", "issuer"), text)

    def own_id(self) -> str:
        """Who this server is to the issuer."""
        return self.client_id or self.resource

    def secret(self) -> str:
        """What it proves that by, as a text that no `repr` shows; empty where there is nothing."""
        return Hidden(self.client_secret.get_secret_value() if self.client_secret else "")

    def config(self, rules: ScopeRules, state_keys: tuple[bytes, ...] = ()) -> AuthConfig:
        """What `auth/` is made of; `state_keys` seal the keys of issuers that are kept."""
        client_id, secret = self.own_id(), self.secret()
        return AuthConfig(
            issuers=tuple(self._policy(one) for one in self.issuer),
            keys=KeyPolicy(ttl_s=self.jwks_ttl_s, stale_s=self.jwks_stale_s, cooldown_s=self.jwks_cooldown_s),
            rules=rules,
            client_id=client_id,
            introspection=IntrospectionClient(client_id, secret) if secret else None,
            max_token=self.max_token_bytes,
            state_keys=state_keys,
        )

    def places(self, backend: StateBackend) -> tuple[SnapshotStore, ...]:
        """Where keys are kept beyond this process."""
        shared: tuple[SnapshotStore, ...] = (BackendSnapshotStore(backend),) if backend.distributed else ()
        return shared if self.jwks_folder is None else (*shared, FolderSnapshotStore(self.jwks_folder))

    def revocations(self, backend: StateBackend, folder: Path | None) -> Revocations:
        """Which tokens are over; kept in the store, or where there is none in the folder of the server's workers."""
        ledgers: list[RevocationLedger] = [StoreLedger(backend)] if backend.distributed else []
        if folder is not None and not ledgers:
            ledgers.append(FolderLedger(folder))
        return Revocations(EventBus(backend), self.revocation_s + self.leeway_s, ledgers)

    def _policy(self, one: IssuerSetting) -> IssuerPolicy:
        return IssuerPolicy(
            issuer=one.issuer,
            audiences=one.audiences or self.audiences | {self.resource},
            algorithms=one.algorithms or self.algorithms,
            leeway_s=self.leeway_s,
            fetch_url=one.fetch_url or self.issuer_fetch_url,
            introspects=one.opaque_tokens or len(self.issuer) == 1,
            persons=one.persons,
            service_clients=one.service_clients or self.service_clients,
            logout_clients=(one.logout_clients or self.logout_clients) | {self.own_id()},
        )
