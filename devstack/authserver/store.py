"""The server's memory: clients, codes, grants, browser sessions; all of it bounded, none of it kept."""

import secrets
import time
from collections.abc import Iterable
from typing import Final, TypeVar

import msgspec
from authlib.oauth2.rfc6749 import AuthorizationCodeMixin, ClientMixin, TokenMixin

from devstack.authserver.clients.redirects import matches
from devstack.authserver.pending import Login, Pending
from devstack.realm.model import Client, Realm, User

MAX_ENTRIES: Final = 10_000
UNUSED_S: Final = 600.0
"""How long a client that registered itself is kept for the person who is about to allow it."""
Value = TypeVar("Value")


class RegisteredClient(ClientMixin):
    """A client of the realm's description or of a registration, as authlib wants to ask it.

    `unused_until` is when one that registered itself is forgotten; None once a person has allowed it.
    """

    def __init__(self, client: Client, realm: Realm, *, by_itself: bool = False) -> None:
        self.client, self._realm = client, realm
        self.client_id = client.client_id
        self.by_itself = by_itself
        self.unused_until = time.time() + UNUSED_S if by_itself else None

    def get_client_id(self) -> str:
        return self.client_id

    def get_default_redirect_uri(self) -> str | None:
        return self.client.redirect_uris[0] if len(self.client.redirect_uris) == 1 else None

    def get_allowed_scope(self, scope: str | None) -> str:
        allowed = {"openid", *self.client.scopes, *self.client.default_scopes}
        found = {one: self._realm.registered(one) for one in (scope or "").split()}
        return " ".join(name for name, one in found.items() if one and one.name in allowed)

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
    login: Login = Login()
    used: bool = False
    sid: str = ""
    """The grant that it was traded for."""

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
    login: Login = Login()
    live_refresh: str = ""
    revoked: bool = False

    def check_client(self, client: RegisteredClient) -> bool:
        return self.client_id == client.client_id

    def get_scope(self) -> str:
        return self.scope


class Session(msgspec.Struct, frozen=True):
    """A browser whose person logged in, and when."""

    user: User
    auth_time: int


class Store:
    """Everything the server remembers."""

    def __init__(self, realm: Realm) -> None:
        self.realm = realm
        self.clients = {one.client_id: RegisteredClient(one, realm) for one in realm.clients}
        self.users = {one.username: one for one in realm.users}
        self.codes: dict[str, Code] = {}
        self.grants: dict[str, Grant] = {}
        self.pending = Pending()
        self.logins: dict[str, Session] = {}
        self.consents: set[tuple[str, str, str]] = set()
        self.revoked: dict[str, float] = {}
        self.ended: dict[str, float] = {}
        self.references: dict[str, str] = {}  # opaque names for access tokens, as some issuers give out

    def admit(self, client: Client) -> bool:
        """Take in a client that registers itself; False where there is no room.

        Those that no person allowed in time make room first: else anybody's registrations would close the door to
        everyone for as long as the server runs.
        """
        now = time.time()
        for name in [name for name, one in self.clients.items() if one.unused_until and one.unused_until < now]:
            del self.clients[name]
        if sum(one.by_itself for one in self.clients.values()) >= self.realm.registration.max_clients:
            return False
        self.clients[client.client_id] = RegisteredClient(client, self.realm, by_itself=True)
        return True

    def put(self, table: dict[str, Value], value: Value, name: str | None = None) -> str:
        """Keep a value under a new unguessable name, or the given one; the oldest makes room."""
        while len(table) >= MAX_ENTRIES:
            del table[next(iter(table))]
        name = name or secrets.token_urlsafe(24)
        table[name] = value
        return name

    def end(self, grant: Grant) -> None:
        """End a grant. Its tokens are over, also once later grants have pushed it out of what is known."""
        grant.revoked = True
        self._remember(self.ended, grant.sid)

    def has_ended(self, sid: str) -> bool:
        """Whether the grant of this name has ended."""
        return self.ended.get(sid, 0.0) > time.time()

    def allow(self, user: User, client_id: str, scopes: Iterable[str]) -> None:
        """Remember a person's consent; the client is one in use from now on."""
        self.consents |= {(user.username, client_id, scope) for scope in (*scopes, "")}
        self.clients[client_id].unused_until = None

    def allowed(self, user: User, client_id: str, scopes: Iterable[str]) -> bool:
        """Whether the person has allowed the client all of these before."""
        return all((user.username, client_id, scope) in self.consents for scope in (*scopes, ""))

    def revoke(self, jti: str) -> None:
        """Remember that an access token is dead."""
        self._remember(self.revoked, jti)

    def _remember(self, over: dict[str, float], name: str) -> None:
        """Remember one more, for longer than an access token lives; those that end first stand first."""
        now = time.time()
        over.pop(name, None)
        over[name] = now + 2 * self.realm.access_token_s
        while over[first := next(iter(over))] <= now:
            del over[first]
