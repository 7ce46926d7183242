"""Who sent this request: the credentials in its headers, judged; a Litestar middleware fills `Principal` from it."""

from collections import Counter
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any, cast

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from mcp_server.auth import bearer
from mcp_server.auth.authenticator import Authenticator
from mcp_server.auth.bearer import Absent, Credentials
from mcp_server.auth.dpop import Proof
from mcp_server.auth.refusals import Reason, Refusal
from mcp_server.identity import Principal
from mcp_server.web import proxy
from mcp_server.web.proxy import Proxies

Outcome = Principal | Absent | Refusal


def duplicated(raw: list[tuple[bytes, bytes]], headers: Mapping[bytes, bytes]) -> AbstractSet[bytes]:
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
    return await authenticator.authenticate(credentials, proof, proxy.share(address))


def _credentials(
    scope: Mapping[str, Any], headers: Mapping[bytes, bytes], twice: AbstractSet[bytes], max_token: int
) -> Credentials | Absent | Refusal:
    if bearer.token_in_query(scope["query_string"]):
        return Refusal(Reason.TOKEN_IN_QUERY)
    if b"authorization" in twice:
        return Refusal(Reason.SEVERAL_CREDENTIALS)
    return bearer.read(headers.get(b"authorization"), max_token)


class AuthenticationMiddleware:
    """Sets `user` (a `Principal` or None) and `auth` (the outcome) in the scope of every route but the MCP endpoint.

    It refuses nobody: guards do, so that public routes stay public. The endpoint identifies its callers itself, for
    there an anonymous call may be right.
    """

    def __init__(self, app: ASGIApp, authenticator: Authenticator, origin: str, skip: str, proxies: Proxies) -> None:
        self._app, self._authenticator, self._proxies = app, authenticator, proxies
        self._origin, self._skip = origin, skip

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Identify, then go on."""
        if scope["type"] == ScopeType.HTTP and scope["path"] != self._skip:
            headers = dict(scope["headers"])
            twice = duplicated(list(scope["headers"]), headers)
            url = self._origin + scope["path"]
            fields = cast("Mapping[str, Any]", scope)
            address = self._proxies.address(fields)
            outcome = await identify(fields, headers, twice, self._authenticator, url, address)
            scope["auth"] = outcome
            scope["user"] = outcome if isinstance(outcome, Principal) else None
        await self._app(scope, receive, send)
