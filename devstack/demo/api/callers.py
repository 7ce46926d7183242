"""Who calls: bearer tokens of one issuer for one audience (RFC 6750, RFC 9068), judged by this API itself.

An API that stands behind an MCP server knows nothing of it: a token whose audience is that server, or is both, is
refused here. It would have come from whoever the server's callers are, without the server's having asked for it.
"""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import httpx
import msgspec
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from litestar import Request
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from devstack.demo.api.problems import Problem

ALGORITHMS: Final = ("RS256", "ES256")
HEADER_TYPES: Final = ("JWT", "at+jwt")
LEEWAY_S: Final = 30
COOLDOWN_S: Final = 10.0
FETCHES: Final = 2
"""Of keys within the cooldown, for anybody can send a token with a key id that nobody knows: two, so that a rotation
right after a fetch is seen."""
MAX_TOKEN: Final = 16_384
log: Final = logging.getLogger("orders-api")


class Untrusted(Exception):
    """A token that is not for this API; the text is for the log, the caller is told nothing of it."""


class Caller(msgspec.Struct, frozen=True):
    """Whose request it is, through which client, and what they may."""

    subject: str
    client: str
    name: str
    scopes: frozenset[str]


class Trust(msgspec.Struct, frozen=True):
    """Whose tokens are taken, for which audience; `fetch` is where the issuer's keys are reached from here."""

    issuer: str
    audience: str
    fetch: str


def accept(claims: Mapping[str, Any], header: Mapping[str, Any], trust: Trust, now: float) -> Caller:
    """The caller that the claims of a verified signature name; raises `Untrusted`."""
    audience = claims.get("aud")
    if header.get("typ") not in HEADER_TYPES or (header["typ"] == "JWT" and claims.get("typ") != "Bearer"):
        raise Untrusted("no access token")
    if claims.get("iss") != trust.issuer:
        raise Untrusted("issuer")
    if (audience if isinstance(audience, list) else [audience]) != [trust.audience]:
        raise Untrusted("audience")
    if "cnf" in claims:  # bound to a key (RFC 7800): who cannot check the proof must not take the token
        raise Untrusted("bound to a key")
    moments = {name: claims.get(name, 0) for name in ("exp", "iat", "nbf")}
    if not all(isinstance(one, int | float) for one in moments.values()) or "iat" not in claims:
        raise Untrusted("times")
    if moments["exp"] + LEEWAY_S <= now or max(moments["iat"], moments["nbf"]) - LEEWAY_S > now:
        raise Untrusted("expired, or not yet valid")
    subject, client, scope = (claims.get(name) for name in ("sub", "azp", "scope"))
    if not (isinstance(subject, str) and subject and isinstance(client, str) and isinstance(scope, str)):
        raise Untrusted("sub, azp or scope")
    return Caller(subject, client, str(claims.get("preferred_username", subject)), frozenset(scope.split(" ")))


class Judge:
    """Verifies tokens with the issuer's published keys, which it fetches when it first meets one that it lacks."""

    def __init__(self, trust: Trust, http: httpx.AsyncClient, clock: Callable[[], float] = time.time) -> None:
        self.trust, self._http, self._clock = trust, http, clock
        self._keys = KeySet([])
        self._fetched: list[float] = []

    async def caller(self, token: str) -> Caller:
        """Whose token it is; raises `Untrusted`, or `Problem` 503 where there are no keys to judge by."""
        if len(token) > MAX_TOKEN:
            raise Untrusted("too long")
        try:
            header = jws.extract_compact(token.encode()).headers()
        except (JoseError, ValueError) as error:
            raise Untrusted("no JWT") from error
        if header.get("alg") not in ALGORITHMS or "crit" in header:
            raise Untrusted("algorithm")
        await self._know(header.get("kid"))
        try:
            verified = jws.deserialize_compact(token, self._keys, algorithms=list(ALGORITHMS))
            claims = msgspec.json.decode(verified.payload, type=dict[str, Any])
        except (JoseError, ValueError, msgspec.DecodeError) as error:
            raise Untrusted("signature") from error
        return accept(claims, header, self.trust, self._clock())

    async def _know(self, kid: object) -> None:
        if any(key.kid == kid for key in self._keys.keys):
            return
        now = self._clock()
        self._fetched = [one for one in self._fetched if now - one < COOLDOWN_S]
        if len(self._fetched) < FETCHES:
            self._fetched.append(now)
            await self._fetch()
        if not self._keys.keys:
            raise Problem(503, "the issuer's keys are not known yet", {"retry-after": "1"})

    async def _fetch(self) -> None:
        try:
            answer = await self._http.get(f"{self.trust.fetch}/protocol/openid-connect/certs")
            published = answer.raise_for_status().json()["keys"]
            usable = [one for one in published if one.get("use") == "sig" and one.get("alg") in ALGORITHMS]
            self._keys = KeySet.import_key_set({"keys": usable})
        except (httpx.HTTPError, JoseError, ValueError, KeyError, TypeError):
            self._fetched.clear()  # what is known serves on; the next token asks again


def bearer(request: Request[Any, Any, Any] | ASGIConnection[Any, Any, Any, Any]) -> str | None:
    """The one bearer token of a request, in its header alone (RFC 6750 §2.1)."""
    sent = request.headers.getall("authorization", [])
    scheme, _, token = sent[0].partition(" ") if len(sent) == 1 else ("", "", "")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def needs(scope: str) -> Callable[[ASGIConnection[Any, Any, Any, Any], BaseRouteHandler], Any]:
    """A guard: the request must carry a token with this scope."""

    async def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        token = bearer(connection)
        if token is None:
            raise Problem(401, "a bearer token is needed", {"www-authenticate": "Bearer"})
        judge: Judge = connection.app.state.judge
        try:
            caller = await judge.caller(token)
        except Untrusted as error:
            log.info("%s  refused: %s", connection.url.path, error)
            headers = {"www-authenticate": 'Bearer error="invalid_token"'}
            raise Problem(401, "the token is not for this API", headers) from error
        # Who, through which client, for whom: what came as a token is in no line.
        heard = (connection.url.path, judge.trust.audience, caller.subject, caller.client)
        log.info("%s  aud=%s sub=%s azp=%s", *heard)
        connection.state.caller = caller
        if scope not in caller.scopes:
            headers = {"www-authenticate": f'Bearer error="insufficient_scope", scope="{scope}"'}
            raise Problem(403, f"this needs the scope {scope}", headers)

    return guard
