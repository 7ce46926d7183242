"""An API behind this server, called within a call: as its caller, within its time, and no token of theirs in sight.

`ctx.upstream("orders")` is this bound to one call; so is each call of an imported tool. A credential is put on here and
nowhere else, the last thing before a request goes out.
"""

import base64
import os
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, Literal, Protocol
from urllib.parse import quote, urlsplit

import msgspec

from mcp_server.authoring.context import CallFacts
from mcp_server.authoring.errors import BadArguments, ToolError
from mcp_server.identity import Credential
from mcp_server.observe.log import logger
from mcp_server.registry.requirement import NeedsScopes
from mcp_server.rest.model import (
    About,
    CallValues,
    Operation,
    Parameter,
    Place,
    SecurityScheme,
    Style,
    UpstreamFault,
    WireAnswer,
    WireRequest,
)
from mcp_server.rest.offer.config import Identity, ScopeMap
from mcp_server.rest.wire import address, problems
from mcp_server.rest.wire.address import Base

MAX_ANSWER: Final = 16 * 1024 * 1024
"""Bytes of an answer, decompressed: what a tool could make a short answer of."""
_NEVER: Final = frozenset({"authorization", "cookie", "proxy-authorization", "host", "content-length", "connection"})
_QUERY_STYLE: Final = Style(name="form", explode=True)
Method = Literal["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "QUERY"]


class Sender(Protocol):
    """What carries requests: `rest/client.py`."""

    async def send(
        self, request: WireRequest, *, deadline_s: float, max_bytes: int, headers: Iterable[tuple[str, str]] = ()
    ) -> WireAnswer:
        """One answer, asked with these headers, too; raises `UpstreamFault`."""


class Tokens(Protocol):
    """Who trades the caller's token for one of the API's: `rest/exchange.py`."""

    async def token(self, credential: Credential, audience: str, scopes: frozenset[str]) -> str:
        """A token for this caller at this API; raises `UpstreamFault`."""

    async def own_token(self, audience: str, scopes: frozenset[str]) -> str:
        """A token of this server's own, as a client; raises `UpstreamFault`."""

    def drop(self, token: str) -> None:
        """Forget a token that the API did not accept."""


class NoTokens:
    """Where nobody trades: an API that wants a token cannot be called."""

    async def token(self, credential: Credential, audience: str, scopes: frozenset[str]) -> str:
        """None."""
        del credential, audience, scopes
        raise ToolError("This server has nobody who trades tokens, and the API wants one.")

    async def own_token(self, audience: str, scopes: frozenset[str]) -> str:
        """None."""
        del audience, scopes
        raise ToolError("This server has nobody who gives tokens, and the API wants one.")

    def drop(self, token: str) -> None:
        """There is none."""


class Reach(msgspec.Struct, frozen=True, kw_only=True):
    """How one API is reached: what all its calls have in common."""

    name: str
    base: Base
    sender: Sender
    tokens: Tokens
    identity: Identity
    scopes: ScopeMap = msgspec.field(default_factory=ScopeMap)
    schemes: Mapping[str, SecurityScheme] = msgspec.field(default_factory=dict)
    secrets: Mapping[str, str] = msgspec.field(default_factory=dict)
    deadline_s: float = 30


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What all APIs of a server share: its default scopes, static secrets, who trades tokens, a call's time."""

    default_scopes: frozenset[str]
    tokens: Tokens
    declared: Collection[str] = ()
    """The scopes that the server declares: with any, a tool needs no other ones."""
    secrets: Mapping[str, str] = msgspec.field(default_factory=dict)
    deadline_s: float = 30


class Asking(msgspec.Struct, frozen=True, kw_only=True):
    """As whom one request goes: the identity, and the API's own scopes that it takes."""

    identity: Identity
    scopes: frozenset[str] = frozenset()


class BoundUpstream:
    """One API for one call, as an author has it: paths below its base address, answers as they come."""

    def __init__(self, reach: Reach, facts: CallFacts) -> None:
        self._reach, self._facts = reach, facts

    async def get(self, path: str, **query: Any) -> "UpstreamAnswer":
        """GET a path, `/orders/1`; keywords are the query."""
        return await self.request("GET", path, query=query)

    async def post(self, path: str, body: Any = msgspec.UNSET, **query: Any) -> "UpstreamAnswer":
        """POST JSON."""
        return await self.request("POST", path, body=body, query=query)

    async def put(self, path: str, body: Any = msgspec.UNSET, **query: Any) -> "UpstreamAnswer":
        """PUT JSON."""
        return await self.request("PUT", path, body=body, query=query)

    async def patch(self, path: str, body: Any = msgspec.UNSET, **query: Any) -> "UpstreamAnswer":
        """PATCH with JSON."""
        return await self.request("PATCH", path, body=body, query=query)

    async def delete(self, path: str, **query: Any) -> "UpstreamAnswer":
        """DELETE a path."""
        return await self.request("DELETE", path, query=query)

    async def request(
        self,
        method: Method,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = msgspec.UNSET,
        scopes: frozenset[str] | set[str] | None = None,
    ) -> "UpstreamAnswer":
        """Call the API as the caller of this tool; `scopes` are the API's own, those of its configuration by default.

        A path is text that the author wrote: what is put into it is quoted first (`urllib.parse.quote`). Raises
        `ToolError` for what is no success, and asks the caller for scopes where the API misses some.
        """
        asking = Asking(identity=self._reach.identity, scopes=frozenset(scopes or ()))
        request = _plain(self._reach.base, method, path, query or {}, body)
        answer = await self.send(request, asking)
        if not 200 <= answer.status < 300:
            raise ToolError(problems.problem(answer, request.url))
        return UpstreamAnswer(answer)

    async def send(self, request: WireRequest, asking: Asking) -> WireAnswer:
        """The API's answer, whatever its status; raises `ToolError` where none comes, and `NeedsScopes`."""
        try:
            answer, token = await self._once(request, asking)
            if answer.status == 401 and token:
                self._reach.tokens.drop(token)
                answer, _ = await self._once(request, asking)
        except UpstreamFault as fault:
            self._tell(request, fault.kind, fault.text)
            raise ToolError(f"{fault.text[:1].upper()}{fault.text[1:]}.") from None
        if answer.status in (401, 403):
            self._refused(request, answer, asking)
        return answer

    async def _once(self, request: WireRequest, asking: Asking) -> tuple[WireAnswer, str]:
        """The answer, and the token that it was asked with if it was one that can be had anew."""
        reach = self._reach
        headers, token = [*self._forwarded(asking.identity), *self._trace()], ""
        wanted = asking.identity.scopes if asking.identity.scopes is not None else asking.scopes
        match asking.identity.mode:
            case "exchange":
                credential = self._facts.incoming.credential
                if credential is None:
                    raise ToolError("The API is called as a known user, and this call has none.")
                token = await reach.tokens.token(credential, asking.identity.audience, wanted)
                headers.append(("authorization", f"Bearer {token}"))
            case "client_credentials":
                token = await reach.tokens.own_token(asking.identity.audience, wanted)
                headers.append(("authorization", f"Bearer {token}"))
            case "secret":
                request = _with_secret(reach, asking.identity, request, headers)
            case "none":
                pass
        answer = await reach.sender.send(request, deadline_s=reach.deadline_s, max_bytes=MAX_ANSWER, headers=headers)
        return answer, token

    def _forwarded(self, identity: Identity) -> list[tuple[str, str]]:
        """The client's headers that the operator has named, and no other one."""
        named = ((name.lower(), self._facts.incoming.header(name)) for name in identity.forward)
        return [(name, value) for name, value in named if value is not None and name not in _NEVER]

    def _trace(self) -> list[tuple[str, str]]:
        """The trace goes on (W3C Trace Context §3.2), with a span of this call's own."""
        if not self._facts.trace_id:
            return []
        return [("traceparent", f"00-{self._facts.trace_id}-{os.urandom(8).hex()}-01")]

    def _refused(self, request: WireRequest, answer: WireAnswer, asking: Asking) -> None:
        """Tell the operator; ask the client where it can do something about it."""
        lacking = problems.missing_scopes(answer)
        if lacking is None:
            self._tell(request, f"status {answer.status}", problems.said(answer))
            return
        self._tell(request, "insufficient_scope", " ".join(lacking))
        principal = self._facts.principal
        held = frozenset() if principal is None else principal.scopes
        found = [_realm_scopes(self._reach.scopes, scope) for scope in lacking]
        needed = frozenset().union(*(one or frozenset() for one in found))
        if asking.identity.mode == "exchange" and all(found) and needed - held:
            raise NeedsScopes(needed)

    def _tell(self, request: WireRequest, reason: str, detail: str) -> None:
        parts = urlsplit(request.url)
        logger.warning(
            "the API did not serve a call",
            api=self._reach.name,
            method=request.method,
            path=parts.path[:200],
            reason=reason,
            detail=detail,
            request=self._facts.request_id,
        )


class UpstreamAnswer:
    """What an API answered."""

    def __init__(self, answer: WireAnswer) -> None:
        self.status, self.headers, self.body = answer.status, answer.headers, answer.body

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8", "replace")

    def json(self, kind: Any = Any) -> Any:
        """The body as JSON, decoded as a type that may be given; raises `ToolError` where it is none."""
        try:
            return msgspec.json.decode(self.body, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ToolError(f"The API answered with what was not expected: {error}") from error


def _realm_scopes(scopes: ScopeMap, scope: str) -> frozenset[str] | None:
    """What the realm calls a scope of the API's; None where it has no scope for it."""
    found = scopes.translated(scope)
    return frozenset({scope}) if found is None and scopes.unmapped == "keep" else found


def _with_secret(reach: Reach, identity: Identity, request: WireRequest, headers: list[tuple[str, str]]) -> WireRequest:
    """Put a static secret where the operator or else the document says: a header, the query, a cookie."""
    secret = reach.secrets.get(identity.secret, "")
    key = next((one for one in reach.schemes.values() if one.kind == "apiKey"), None)
    if identity.header:
        headers.append((identity.header.lower(), secret))
    elif key is not None and key.place == "query":
        pair = f"{quote(key.parameter, safe='')}={quote(secret, safe='')}"
        return msgspec.structs.replace(request, url=f"{request.url}{'&' if '?' in request.url else '?'}{pair}")
    elif key is not None and key.place == "cookie":
        cookies = [value for name, value in request.headers if name == "cookie"]
        kept = tuple(one for one in request.headers if one[0] != "cookie")
        headers.append(("cookie", "; ".join([*cookies, f"{key.parameter}={quote(secret, safe='')}"])))
        return msgspec.structs.replace(request, headers=kept)
    elif key is not None:
        headers.append((key.parameter.lower(), secret))
    elif ":" in secret and " " not in secret:
        headers.append(("authorization", f"Basic {base64.b64encode(secret.encode()).decode()}"))
    else:
        headers.append(("authorization", secret if " " in secret else f"Bearer {secret}"))
    return request


def _plain(base: Base, method: Method, path: str, query: Mapping[str, Any], body: Any) -> WireRequest:
    """A request that an author wrote, below the base address; raises `ToolError` for a path that would leave it."""
    if set(path) & set("{}#?\\"):
        raise ToolError("a path is plain: what is put into it is quoted, and the query is given by its names")
    asked = tuple(
        Parameter(name=name, place="query", required=False, schema=True, style=_QUERY_STYLE) for name in query
    )
    operation = Operation(method=method.lower(), path=path, pointer="", about=About(), parameters=asked)
    values: dict[tuple[Place, str], Any] = {("query", name): value for name, value in query.items()}
    try:
        made = address.request(operation, CallValues(parameters=values), base)
    except BadArguments as error:
        raise ToolError(str(error)) from error
    if body is msgspec.UNSET:
        return made
    return msgspec.structs.replace(
        made, headers=(*made.headers, ("content-type", "application/json")), body=msgspec.json.encode(body)
    )
