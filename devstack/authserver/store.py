"""The server's memory: clients, codes, grants, browser sessions; all of it bounded, none of it kept."""

import secrets
import time
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import msgspec
from authlib.oauth2.rfc6749 import AuthorizationCodeMixin, ClientMixin, TokenMixin

from devstack.realm.model import Client, Realm, User

MAX_ENTRIES: Final = 10_000
Value = TypeVar("Value")


class RegisteredClient(ClientMixin):
    """A client of the realm's description or of a registration, as authlib wants to ask it."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.client_id = client.client_id

    def get_client_id(self) -> str:
        return self.client_id

    def get_default_redirect_uri(self) -> str | None:
        return self.client.redirect_uris[0] if len(self.client.redirect_uris) == 1 else None

    def get_allowed_scope(self, scope: str | None) -> str:
        allowed = {"openid", *self.client.scopes, *self.client.default_scopes}
        return " ".join(one for one in (scope or "").split() if one in allowed)

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return any(matches(known, redirect_uri) for known in self.client.redirect_uris)

    def check_client_secret(self, client_secret: str) -> bool:
        known = self.client.secret
        return known is not None and secrets.compare_digest(known.encode(), client_secret.encode())

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        if self.client.secret is None:
            return method == "none" and endpoint != "introspection"
        return method in ("client_secret_basic", "client_secret_post")

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code" and "authorization_code" in self.client.grants

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type in self.client.grants


def matches(known: str, asked: str) -> bool:
    """A registered redirect URI against the asked one: exact, but a loopback one without a port takes any port."""
    if known == asked:
        return True
    registered, given = urlsplit(known), urlsplit(asked)
    loopback = registered.hostname in ("127.0.0.1", "localhost", "::1") and registered.port is None
    return (
        loopback
        and registered.scheme == given.scheme == "http"
        and registered.hostname == given.hostname
        and registered.path == given.path
        and not given.query
        and not given.fragment
        and given.username is None
    )


class Code(msgspec.Struct, AuthorizationCodeMixin):
    """An authorization code that was given out."""

    code: str
    client_id: str
    redirect_uri: str | None
    scope: str
    user: User
    resource: str | None
    nonce: str | None
    code_challenge: str | None
    code_challenge_method: str | None
    expires_at: float

    def get_redirect_uri(self) -> str | None:
        return self.redirect_uri

    def get_scope(self) -> str:
        return self.scope


class Grant(msgspec.Struct, TokenMixin):
    """What a person allowed a client, as long as it lasts: one line of refresh tokens, of which one is live."""

    sid: str
    client_id: str
    scope: str
    user: User
    resource: str | None
    live_refresh: str = ""
    revoked: bool = False

    def check_client(self, client: RegisteredClient) -> bool:
        return self.client_id == client.client_id

    def get_scope(self) -> str:
        return self.scope


class Store:
    """Everything the server remembers."""

    def __init__(self, realm: Realm) -> None:
        self.realm = realm
        self.clients = {one.client_id: RegisteredClient(one) for one in realm.clients}
        self.users = {one.username: one for one in realm.users}
        self.codes: dict[str, Code] = {}
        self.grants: dict[str, Grant] = {}
        self.pending: dict[str, dict[str, Any]] = {}
        self.logins: dict[str, User] = {}
        self.consents: set[tuple[str, str, str]] = set()
        self.revoked: dict[str, float] = {}
        self.references: dict[str, str] = {}  # opaque names for access tokens, as some issuers give out

    def put(self, table: dict[str, Value], value: Value) -> str:
        """Keep a value under a new unguessable name; the oldest makes room."""
        while len(table) >= MAX_ENTRIES:
            del table[next(iter(table))]
        name = secrets.token_urlsafe(24)
        table[name] = value
        return name

    def revoke(self, jti: str) -> None:
        """Remember that an access token is dead, for longer than it would have lived."""
        now = time.time()
        self.revoked = {one: until for one, until in self.revoked.items() if until > now}
        self.revoked[jti] = now + 2 * self.realm.access_token_s
