"""An API behind this server, called within a call: as its caller, within its time, and no token of theirs in sight.

`ctx.upstream("orders")` is this bound to one call; so is each call of an imported tool. A credential is put on here and
nowhere else, the last thing before a request goes out.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from mcp_server.authoring.context import CallFacts, TaskRequest
from mcp_server.authoring.errors import SessionEnded, ToolError
from mcp_server.observe.log import logger
from mcp_server.observe.telemetry import names
from mcp_server.observe.tracing import Step, address_of, materialized
from mcp_server.registry.requirement import NeedsScopes, any_of
from mcp_server.rest import exchange, handwritten, header_names, placement
from mcp_server.rest.handwritten import Method
from mcp_server.rest.model import Header, UpstreamFault, WireAnswer, WireRequest
from mcp_server.rest.needs.lacking import Lacking, lacking
from mcp_server.rest.needs.operation_index import OperationAccess
from mcp_server.rest.offer.config import WITH_TOKEN, Identity
from mcp_server.rest.offer.security import Needs, api_scopes, lacked
from mcp_server.rest.upstream_api import UpstreamApi
from mcp_server.rest.wire import masks, problems
from mcp_server.rest.wire.address import Base
from mcp_server.rest.wire.grants import Wanted
from mcp_server.rest.wire.transport import retries

MAX_ANSWER: Final = 8 * 1024 * 1024
"""Bytes of an answer, decompressed: what a tool could make a short answer of."""
_TRUST: Final = "it was sent a token with {0!r} in aud: let it take tokens of that audience, of the issuer and its keys"
_KEYED: Final = "; or, where it wants a key, send that (identity.mode = 'secret')"


class CallIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """As whom one request goes: the identity, the API's own scopes that it takes, and the same to the exchange."""

    identity: Identity
    scopes: frozenset[str]
    as_whom: exchange.Identity


class BoundUpstream:
    """One API for one call, as an author has it: paths below its base address, answers as they come."""

    def __init__(self, api: UpstreamApi, facts: CallFacts) -> None:
        self._api, self._facts = api, facts

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
        headers: Mapping[str, str] | None = None,
    ) -> "UpstreamAnswer":
        """Call the API as the caller of this tool; `scopes` are the API's own, else those of the operation.

        A path is text that the author wrote: what is put into it is quoted first (`urllib.parse.quote`). Raises
        `ToolError` for what is no success, and asks the caller for scopes where the API misses some, or where the
        operation is called as somebody whom they may not have it called as. Raises `ValueError` for one of `headers`
        that this server alone says: credentials, what frames the request, what the operator has passed on.
        """
        request = handwritten.request(self._api.base, method, path, query or {}, body, self._api.schemes)
        known = self._api.operations.find(method, path)
        identity = self._api.identity if known is None else known.identity
        if headers:
            request = handwritten.with_headers(request, headers, self._api.schemes, identity)
        missed = self._let_in(known, identity, method, path)
        if exceeds_caller(identity):
            self._require_same_operation(method, path, identity, None if known is None else known.needs)
        wanted = self._wanted(known, missed, method, path) if scopes is None else frozenset(scopes)
        whom = call_identity(identity, wanted, self._api)
        try:
            answer = await self.send(request, whom)
        except SessionEnded as ended:  # a handler may have acted before: a client that comes back would do it twice
            raise ToolError(str(ended)) from None
        if not 200 <= answer.status < 300:
            raise ToolError(problems.problem(answer, request.url))
        return UpstreamAnswer(answer)

    def require_same_operation(self, request: WireRequest, base: Base, identity: Identity, needs: Needs) -> None:
        """Raise `NeedsScopes` where an argument made of a tool's path that of another operation, which asks for more.

        `/orders/export` is no `/orders/{id}`: called as the caller, the API judges; in one name for all, nobody would.
        """
        self._require_same_operation(request.method, request.url.removeprefix(base.origin + base.path), identity, needs)

    def _require_same_operation(self, method: str, path: str, identity: Identity, needs: Needs | None) -> None:
        """Judge the other operations that an API may take a path for, though it is not spelt so: `/orders/EXPORT`."""
        for one in self._api.operations.alike(method, path):
            if one.needs != needs:
                self._let_in(one, identity, method, path)

    def _let_in(
        self, known: OperationAccess | None, identity: Identity, method: str, path: str
    ) -> tuple[frozenset[str], ...]:
        """What the caller lacks of an operation; raises `NeedsScopes` where it is called as more than the caller."""
        missed = self._missed(known)
        if missed and _exceeds_caller(identity, known):
            text = "an operation is called whose scopes its caller lacks, as more than the caller"
            logger.warning(text, **self._about(method, path), needed=[sorted(one) for one in missed])
            raise NeedsScopes(any_of(*missed))
        return missed

    def _missed(self, known: OperationAccess | None) -> tuple[frozenset[str], ...]:
        """What its tool would ask the caller for, and they lack.

        An argument in the path may choose the operation: `/orders/export` is no `/orders/{id}`. What is no operation
        needs the default scopes, as one without scopes does.
        """
        principal = self._facts.principal
        if principal is not None and principal.tokenless:
            return ()
        needs = Needs() if known is None else known.needs
        return lacked(needs, self._api.context.default_scopes, self._held)

    def _wanted(
        self, known: OperationAccess | None, missed: tuple[frozenset[str], ...], method: str, path: str
    ) -> frozenset[str]:
        """The API's scopes for a call of the author's: those of its operation, and none for what is no operation.

        All that the caller's amount to would be more than any call needs; whom its tool would not let in gets none.
        """
        api = self._api
        if known is not None:
            return frozenset() if missed else api_scopes(known.needs, self._held)
        if api.operations and api.identity.scopes is None and api.identity.mode in WITH_TOKEN:
            text = (
                "a handler calls what is no operation of the document: no scope is asked for, unless scopes= names it"
            )
            logger.warning(text, **self._about(method, path))
        return frozenset()

    async def send(self, request: WireRequest, whom: CallIdentity) -> WireAnswer:
        """The API's answer, whatever its status; raises `ToolError` where none comes, and `NeedsScopes`."""
        context = self._api.context
        ends_at = context.monotonic() + context.deadline_s
        if isinstance(incoming := self._facts.incoming, TaskRequest):
            request = retries.keyed(request, incoming.idempotency_key)
        try:
            answer, token = await self._once(request, whom, ends_at)
            if answer.status == 401 and token:  # the issuer may have ended what we kept: asked anew, and tried once
                answer, token = await self._once(request, whom, ends_at, token)
            if answer.status == 403 and (found := self._lacking(answer, whom)) and found.beyond:
                answer, whom = await self._with_more(request, answer, whom, found, ends_at)
        except UpstreamFault as fault:
            self._tell(request, fault.kind, fault.text)
            raise ToolError(_sentence(fault.text)) from None
        except exchange.NoAccess as refused:  # the log has the reason already, and its cure
            raise (SessionEnded if refused.ended else ToolError)(_sentence(str(refused))) from None
        if answer.status in (401, 403):
            self._refused(request, answer, whom)
        return answer if answer.status < 300 else masks.without_host(answer, request.url)

    async def _once(
        self, request: WireRequest, whom: CallIdentity, ends_at: float, rejected: str = ""
    ) -> tuple[WireAnswer, str]:
        """The answer, without the credential that it was asked with; and the token, if that was one."""
        api = self._api
        identity = whom.as_whom
        own = await api.context.access.headers(
            identity, self._facts.incoming.credential, rejected, within_s=self._left(ends_at, sent=bool(rejected))
        )
        sent: tuple[str, ...] = ()
        if identity.mode == "secret":
            sent = masks.of_header(own[0][1])
            request, own = placement.placed(request, own, api.schemes, stated=bool(whom.identity.header))
        left = self._left(ends_at, sent=bool(rejected))
        with Step(request.method, "client", lambda: _seen(request, api.name)) as step:
            ours = [*self._trace(step), *own]
            headers = [*self._forwarded(whom.identity, ours), *ours]
            answer = await api.sender.send(request, deadline_s=left, max_bytes=MAX_ANSWER, headers=headers)
            step.answered(answer.status)
        token = own[0][1].removeprefix("Bearer ") if identity.mode in WITH_TOKEN else ""
        return masks.without_credential(answer, (token,) if token else sent), token

    def _left(self, ends_at: float, *, sent: bool) -> float:
        """The seconds that the call still has; raises `UpstreamFault` where it has none."""
        left = ends_at - self._api.context.monotonic()
        if left <= 0:
            text = "the time that a call may take was over before the API could be asked"
            raise UpstreamFault("timeout", text, sent=sent)
        return left

    def _forwarded(self, identity: Identity, ours: Iterable[Header]) -> list[Header]:
        """The client's headers that the operator has named, and no other one; none beside one of ours.

        Of two keys, or two places in a trace, an API may take the client's.
        """
        if not identity.forward:
            return []
        taken = {header_names.folded(name) for name, _ in ours}
        named = ((name.lower(), self._facts.incoming.header(name)) for name in identity.forward)
        return [
            (name, value)
            for name, value in named
            if value is not None and header_names.forwardable(name) and header_names.folded(name) not in taken
        ]

    def _trace(self, step: Step) -> list[tuple[str, str]]:
        """The trace goes on (W3C Trace Context §3.2), below the span of this step; a caller's baggage does not."""
        told, facts = step.outgoing, self._facts
        if told is None and facts.trace is not None:
            told = materialized(facts.trace, facts.request_id).outgoing()
        if not told:
            return []
        state = [("tracestate", told.state)] if told.state else []
        return [("traceparent", told.header), *state]

    def _refused(self, request: WireRequest, answer: WireAnswer, whom: CallIdentity) -> None:
        """Tell the operator; ask the client where it can do something about it."""
        found = self._lacking(answer, whom)
        if found is None:
            cure = self._cure_of_401(whom) if answer.status == 401 else ""
            self._tell(request, f"status {answer.status}", problems.said(answer), cure)
            return
        self._tell(request, "insufficient_scope", " ".join(found.names), found.cure)
        if found.is_held:
            self._tell(request, "the caller holds the scope, and the API refuses it", " ".join(sorted(found.needed)))
        elif found.helps:
            raise NeedsScopes(found.needed)

    def _cure_of_401(self, whom: CallIdentity) -> str:
        if not whom.identity.audience or whom.identity.mode not in WITH_TOKEN:
            return ""
        other = _KEYED if placement.keys(self._api.schemes) else ""
        return _TRUST.format(whom.identity.audience) + other

    def _lacking(self, answer: WireAnswer, whom: CallIdentity) -> Lacking | None:
        """The scopes that a refusal misses; None where it is one for another reason."""
        names = problems.missing_scopes(answer)
        if names is None:
            return None
        api = self._api
        return lacking(
            names,
            identity=whom.identity,
            asked=whom.scopes,
            scopes=api.scopes,
            held=self._held,
            declared=api.context.declared,
            documented=api.operations.scopes,
        )

    async def _with_more(
        self, request: WireRequest, refusal: WireAnswer, whom: CallIdentity, missed: Lacking, ends_at: float
    ) -> tuple[WireAnswer, CallIdentity]:
        """The answer to a token with what the caller has stepped up to, or the refusal, where there is none.

        What was refused for its scopes has done nothing yet.
        """
        more = call_identity(whom.identity, whom.scopes | missed.beyond, self._api)
        try:
            answer, _ = await self._once(request, more, ends_at)
        except exchange.NoAccess as no_access:
            if no_access.ended:
                raise
            return refusal, whom
        if answer.status != 403:
            self._tell(request, "insufficient_scope", " ".join(missed.names), missed.cure)
        return answer, more

    @property
    def _held(self) -> frozenset[str]:
        """The caller's scopes, in the realm's words."""
        return frozenset() if self._facts.principal is None else self._facts.principal.scopes

    def _tell(self, request: WireRequest, reason: str, detail: str, cure: str = "") -> None:
        about = self._about(request.method, urlsplit(request.url).path)
        text = "the API did not serve a call"
        logger.warning(text, **about, reason=reason, detail=detail, **({"cure": cure} if cure else {}))

    def _about(self, method: str, path: str) -> dict[str, str]:
        return {"api": self._api.name, "method": method, "path": path[:200], "request": self._facts.request_id}


class UpstreamAnswer:
    """What an API answered."""

    def __init__(self, answer: WireAnswer) -> None:
        self.status, self.headers, self.body = answer.status, answer.headers, answer.body
        self.cut = answer.cut
        """Whether it went on for longer than is read."""

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


def call_identity(identity: Identity, scopes: frozenset[str], api: UpstreamApi) -> CallIdentity:
    """As whom an API is asked for these scopes of its own."""
    header = identity.header
    if not header:
        named = (one.parameter for one in placement.keys(api.schemes) if one.place == "header")
        header = next(named, "authorization") if identity.mode == "secret" else "authorization"
    as_whom = exchange.Identity(
        mode=identity.mode,
        wanted=Wanted(audience=identity.audience, scopes=scopes if identity.scopes is None else identity.scopes),
        issuer=api.context.issuer,
        secret=identity.secret,
        header=header.lower(),
    )
    return CallIdentity(identity=identity, scopes=scopes, as_whom=as_whom)


def _seen(request: WireRequest, api: str) -> dict[str, str | int]:
    """What a span tells of a request; its URL is made of arguments, and so is no part of it."""
    return {names.API: api, names.HTTP_METHOD: request.method, **address_of(request.url)}


def exceeds_caller(identity: Identity) -> bool:
    """Whether what is called under it may be more than its caller's own."""
    return identity.mode in ("secret", "client_credentials") or (
        identity.mode == "exchange" and identity.scopes is not None
    )


def _exceeds_caller(identity: Identity, known: OperationAccess | None) -> bool:
    """Whether an identity gives a caller more than their own scopes: this server's, or scopes that the operator states.

    Of stated scopes on a path that is no operation nothing says whose they are: that is the author's word.
    """
    return exceeds_caller(identity) and (identity.mode != "exchange" or known is not None)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
