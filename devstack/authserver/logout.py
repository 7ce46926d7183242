"""Logout: of a person by their client or their browser, or by the administrator.

The clients are told (Back-Channel Logout 1.0), each at the address that the realm has for it, as Keycloak does (seen).
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import httpx
import msgspec
from litestar import Request, Response, get, post
from litestar.exceptions import ClientException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery

from devstack.authserver.authorize import COOKIE
from devstack.authserver.store import Grant, Store
from devstack.authserver.tokens import TokenIssuer

TOLD_S: Final = 5.0


class Who(msgspec.Struct):
    """Whom the administrator logs out."""

    user: str


class Logouts:
    """Ends what persons allowed, and says so."""

    def __init__(self, store: Store, mint: TokenIssuer) -> None:
        self._store, self._mint = store, mint

    async def end(self, over: Callable[[Grant], bool]) -> int:
        """End these grants; how many there were. A client that cannot be told is not, as Keycloak does."""
        ended = [grant for grant in self._store.grants.values() if not grant.revoked and over(grant)]
        for grant in ended:
            self._store.end(grant)
        async with httpx.AsyncClient(trust_env=False, timeout=TOLD_S) as http:
            await asyncio.gather(*(self._tell(http, grant) for grant in ended), return_exceptions=True)
        return len(ended)

    async def _tell(self, http: httpx.AsyncClient, grant: Grant) -> None:
        known = self._store.clients.get(grant.client_id)
        if known is not None and known.client.logout_url:
            token = self._mint.logout_token(known.client, grant.user, grant.sid)
            await http.post(known.client.logout_url, data={"logout_token": token})


def paths(prefix: str) -> frozenset[str]:
    """The page that a person's window opens."""
    return frozenset({f"{prefix}/protocol/openid-connect/logout"})


def routes(logouts: Logouts, store: Store, mint: TokenIssuer, prefix: str) -> list[HTTPRouteHandler]:
    """The handlers: a client's with its refresh token, a window's with an ID token, the administrator's."""
    path = f"{prefix}/protocol/openid-connect/logout"

    @post(path, status_code=200)
    async def by_client(request: Request[Any, Any, Any]) -> Response[Any]:
        form = await request.form()
        claims = mint.read_refresh(str(form.get("refresh_token", "")))
        if claims is None or claims.get("azp") != form.get("client_id"):
            return Response({"error": "invalid_grant"}, status_code=400)
        await logouts.end(lambda grant: grant.sid == claims["sid"])
        return Response(None, status_code=204)

    @get(path)
    async def by_window(request: Request[Any, Any, Any], id_token_hint: FromQuery[str] = "") -> Response[Any]:
        claims = mint.read_id(id_token_hint)
        if claims is None:
            return Response("Invalid parameter: id_token_hint", status_code=400, media_type="text/plain")
        store.logins.pop(request.cookies.get(COOKIE, ""), None)
        await logouts.end(lambda grant: grant.sid == claims["sid"])
        return Response("You are logged out", media_type="text/plain", headers={"cache-control": "no-store"})

    @post("/_dev/logout", status_code=200)
    async def by_administrator(request: Request[Any, Any, Any]) -> dict[str, int]:
        try:
            who = msgspec.json.decode(await request.body(), type=Who).user
        except msgspec.DecodeError as error:
            raise ClientException(str(error)) from error
        if who not in store.users:
            raise ClientException(f"there is no {who}")
        for name in [name for name, one in store.logins.items() if one.user.username == who]:
            del store.logins[name]
        return {"ended": await logouts.end(lambda grant: grant.user.username == who)}

    return [by_client, by_window, by_administrator]
