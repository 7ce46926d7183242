"""Who sent this request: the credentials in its headers, judged; a Litestar middleware fills `Principal` from it."""

import os
from collections import Counter
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final, cast

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from mcp_server.auth.authenticator import Authenticator
from mcp_server.auth.binding.dpop import Proof
from mcp_server.auth.refusals import AccessDenied, DenialReason
from mcp_server.auth.tokens import bearer
from mcp_server.auth.tokens.bearer import Credentials, NoCredentials
from mcp_server.identity import Principal
from mcp_server.limits import callers
from mcp_server.observe import log
from mcp_server.web import render
from mcp_server.web.http_call import Services
from mcp_server.web.request_guard import HttpPolicy, check_host
from mcp_server.web.trail import SCOPE_KEY, Trail

Outcome = Principal | NoCredentials | AccessDenied
HTTP_1_0: Final = ("1.0", "1")
"""What ASGI and granian call it; granian makes an empty Host for a request without."""


class MiddlewareScope(msgspec.Struct, frozen=True, kw_only=True):
    """Where the middleware stands: `origin` is our public one, `endpoint` the path it leaves alone.

    `listed` are the routes at which a Host that is not on the list is refused.
    """

    origin: str
    endpoint: str
    listed: frozenset[str]


def repeated(raw: list[tuple[bytes, bytes]], headers: Mapping[bytes, bytes]) -> AbstractSet[bytes]:
    """The names of headers sent more than once."""
    if len(raw) == len(headers):
        return frozenset()
    counted = Counter(name for name, _ in raw)
    return {name for name, times in counted.items() if times > 1}


async def identify(
    scope: Mapping[str, Any],
    headers: Mapping[bytes, bytes],
    twice: AbstractSet[bytes],
    authenticator: Authenticator,
    url: str,
    address: str,
) -> Outcome:
    """The caller of a request; the fast path, a token seen before, awaits nothing."""
    if not twice and not scope["query_string"]:
        known = authenticator.cached(headers.get(b"authorization"))
        if known is not None:
            return known
    credentials = _credentials(scope, headers, twice, authenticator.max_token)
    proof = Proof(None if b"dpop" in twice else headers.get(b"dpop"), scope["method"], url)
    return await authenticator.authenticate(credentials, proof, callers.key(None, address))


def _credentials(
    scope: Mapping[str, Any], headers: Mapping[bytes, bytes], twice: AbstractSet[bytes], max_token: int
) -> Credentials | NoCredentials | AccessDenied:
    if bearer.token_in_query(scope["query_string"]):
        return AccessDenied(DenialReason.TOKEN_IN_QUERY)
    if b"authorization" in twice:
        return AccessDenied(DenialReason.SEVERAL_CREDENTIALS)
    return bearer.read(headers.get(b"authorization"), max_token)


class AuthenticationMiddleware:
    """Sets `user` (a `Principal` or None) and `auth` (the outcome) in the scope of every route but the MCP endpoint.

    It refuses no caller: guards do, so that public routes stay public. The endpoint identifies its callers itself, for
    there an anonymous call may be right. A request whose Host is missing, malformed or there twice goes no further; on
    the routes of `listed` it must be a name of ours, as at the endpoint.
    """

    def __init__(
        self,
        app: ASGIApp,
        authenticator: Authenticator,
        services: Services,
        policy: HttpPolicy,
        places: MiddlewareScope,
    ) -> None:
        self._app, self._authenticator = app, authenticator
        self._services, self._policy, self._places = services, policy, places

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Identify, then go on."""
        if scope["type"] != ScopeType.HTTP or scope["path"] == self._places.endpoint:
            await self._app(scope, receive, send)
            return
        fields = cast("dict[str, Any]", scope)
        headers = dict(fields["headers"])
        twice = repeated(fields["headers"], headers)
        trail = fields[SCOPE_KEY] = self._trail(fields)
        listed = fields.get("path_template") in self._places.listed
        optional = not listed and fields["http_version"] in HTTP_1_0
        refused = check_host(headers, self._policy, twice, listed=listed, optional=optional)
        if refused is not None:
            trail.settle(refused)
            for message in render.messages(refused):
                await send(cast("Any", message))
            return
        url = self._places.origin + scope["path"]
        outcome = await identify(fields, headers, twice, self._authenticator, url, trail.address)
        scope["auth"] = outcome
        scope["user"] = trail.principal = outcome if isinstance(outcome, Principal) else None
        trail.refusal = outcome if isinstance(outcome, AccessDenied) else None
        token = log.request_id.set(trail.request_id)
        try:
            await self._app(scope, receive, send)
        finally:
            log.request_id.reset(token)

    def _trail(self, scope: Mapping[str, Any]) -> Trail:
        return Trail(
            audit=self._services.audit,
            request_id=os.urandom(8).hex(),
            address=self._services.proxies.address(scope),
            method=scope["method"],
        )
