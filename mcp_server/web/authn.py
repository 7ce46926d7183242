"""Who sent this request: the credentials in its headers, judged, for the endpoint and for guarded routes."""

import os
from collections import Counter
from collections.abc import Awaitable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final, cast
from urllib.parse import quote

import msgspec
from litestar.types import ASGIApp, Receive, Scope, Send

from mcp_server.auth.authenticator import Authenticator
from mcp_server.auth.binding.dpop import Proof
from mcp_server.auth.refusals import AccessDenied, DenialReason
from mcp_server.auth.tokens import bearer
from mcp_server.auth.tokens.bearer import Credentials, NoCredentials
from mcp_server.identity import Credential, Principal
from mcp_server.limits import callers
from mcp_server.observe import tracing
from mcp_server.observe.audit import AuditLog
from mcp_server.observe.tracing import Traces
from mcp_server.web import render
from mcp_server.web.incoming.client_address import TrustedProxies
from mcp_server.web.incoming.request_guard import HttpPolicy, check_host
from mcp_server.web.trail import SCOPE_KEY, Trail, join_state, name_of

Outcome = Principal | NoCredentials | AccessDenied
HTTP_1_0: Final = ("1.0", "1")
"""What ASGI and granian call it; granian makes an empty Host for a request without."""


def repeated(raw: list[tuple[bytes, bytes]], headers: Mapping[bytes, bytes]) -> AbstractSet[bytes]:
    """The names of headers sent more than once."""
    if len(raw) == len(headers):
        return frozenset()
    counted = Counter(name for name, _ in raw)
    return {name for name, times in counted.items() if times > 1}


def method_of(scope: Mapping[str, Any]) -> str:
    """The method of a request; a websocket's opening is a GET, which its scope does not say (RFC 6455 §4.1)."""
    method: str = scope.get("method", "GET")
    return method


def identify(
    scope: Mapping[str, Any],
    headers: Mapping[bytes, bytes],
    twice: AbstractSet[bytes],
    authenticator: Authenticator,
    url: str,
    trail: Trail,
) -> Principal | Awaitable[Outcome]:
    """The caller of a request: known at once where the token was seen before, else to be awaited.

    The trail gets the proof that came with the token.
    """
    looked_up = None
    if not twice and not scope["query_string"]:
        found = authenticator.cached(headers.get(b"authorization"))
        if isinstance(found, Principal):
            return found
        looked_up = found
    credentials = _credentials(scope, headers, twice, authenticator.max_token)
    trail.proof = Proof(None if b"dpop" in twice else headers.get(b"dpop"), method_of(scope), url)
    return authenticator.authenticate(credentials, trail.proof, callers.key(None, trail.address), looked_up)


def _credentials(
    scope: Mapping[str, Any], headers: Mapping[bytes, bytes], twice: AbstractSet[bytes], max_token: int
) -> Credentials | NoCredentials | AccessDenied:
    if bearer.token_in_query(scope["query_string"]):
        return AccessDenied(reason=DenialReason.TOKEN_IN_QUERY)
    if b"authorization" in twice:
        return AccessDenied(reason=DenialReason.SEVERAL_CREDENTIALS)
    return bearer.read(headers.get(b"authorization"), max_token)


def credential(headers: Mapping[bytes, bytes], principal: Principal | None) -> Credential | None:
    """The token of a caller who has been judged by these headers, made only when a call goes on to an API."""
    authorization = headers.get(b"authorization")
    if principal is None or authorization is None:
        return None
    found = bearer.read(authorization, len(authorization))  # its size was judged before
    return Credential(found.token, principal) if isinstance(found, Credentials) else None


class Caller(msgspec.Struct, frozen=True):
    """Who asks for a guarded route, and the audit trail of the request."""

    outcome: Outcome
    trail: Trail


class RouteAuthentication:
    """Identifies the caller of a guarded route, once for all of its guards: a proof of possession is good for one look.

    Other routes are none of ours. In an application of one's own their credentials may be anybody's: no issuer is
    asked about those, and nobody's `user` is replaced.
    """

    def __init__(
        self,
        authenticator: Authenticator,
        audit: AuditLog,
        proxies: TrustedProxies,
        *,
        origin: str,
        traces: Traces | None = None,
    ) -> None:
        """`origin` is the public one, for proofs name the URL that their client knows."""
        self._authenticator, self._audit, self._proxies, self._origin = authenticator, audit, proxies, origin
        self.traces = traces or Traces()

    def trail(self, scope: Mapping[str, Any]) -> Trail:
        """A new audit trail for a request."""
        return Trail(
            audit=self._audit,
            request_id=os.urandom(8).hex(),
            address=self._proxies.address(scope),
            method=method_of(scope),
        )

    async def caller(self, scope: Any) -> Caller:
        """The caller. `user` and `auth` of the scope are the principal where nobody else has set them before."""
        known: Caller | None = scope.get(SCOPE_KEY)
        if known is not None:
            return known
        trail = self.trail(scope)
        tracing.here.set(trail)  # never reset: a request has a context of its own, and it ends with it
        headers = dict(scope["headers"])
        join_state(scope["headers"], headers)
        trail.begin(self.traces, headers)
        trail.request_id = name_of(trail.trace) or trail.request_id
        url = self._origin + _sent_path(scope)
        twice = repeated(scope["headers"], headers)
        found = identify(scope, headers, twice, self._authenticator, url, trail)
        outcome = found if isinstance(found, Principal) else await found
        if isinstance(outcome, Principal):
            trail.principal = outcome
            scope.setdefault("user", outcome)
            scope.setdefault("auth", outcome)
        trail.refusal = outcome if isinstance(outcome, AccessDenied) else None
        scope[SCOPE_KEY] = caller = Caller(outcome, trail)
        return caller


def _sent_path(scope: Mapping[str, Any]) -> str:
    """The path as it was sent, escapes and all: `path` has them undone, and so is not what a proof names."""
    raw: bytes | None = scope.get("raw_path")
    return quote(scope["path"]) if raw is None else raw.partition(b"?")[0].decode("latin-1")


class HostCheck:
    """Middleware of our own plain routes: a request whose Host is missing, malformed or there twice goes no further.

    On `listed` routes it must be a name of ours, as at the endpoint.
    """

    def __init__(self, app: ASGIApp, authentication: RouteAuthentication, policy: HttpPolicy, *, listed: bool) -> None:
        self._app, self._authentication, self._policy, self._listed = app, authentication, policy, listed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check, then go on."""
        fields = cast("dict[str, Any]", scope)
        headers = dict(fields["headers"])
        optional = not self._listed and fields["http_version"] in HTTP_1_0
        twice = repeated(fields["headers"], headers)
        refused = check_host(headers, self._policy, twice, listed=self._listed, optional=optional)
        if refused is None:
            await self._app(scope, receive, send)
            return
        self._authentication.trail(fields).settle(refused)
        for message in render.messages(refused):
            await send(cast("Any", message))
