"""One HTTP request on its way through the endpoint: what every step needs to know of it, and its audit line."""

import asyncio
import functools
import math
import time
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import msgspec

from mcp_server.auth.challenge import Challenger
from mcp_server.auth.refusals import AccessDenied, DenialReason
from mcp_server.auth.tokens import claims
from mcp_server.authoring.sink import Sink
from mcp_server.engine.call import Admitted, Call, NeedsScopes
from mcp_server.engine.dispatch import Dispatcher
from mcp_server.engine.methods import tools
from mcp_server.engine.methods.listening import Opened
from mcp_server.identity import Principal
from mcp_server.limits.concurrency import ConcurrencyLimiter, Place
from mcp_server.limits.rate import RateLimiter
from mcp_server.observe import metrics, tracing
from mcp_server.observe.audit import AuditLog, Decision
from mcp_server.observe.log import logger
from mcp_server.protocol import downgrade, errors, jsonrpc, methods, revisions, sse
from mcp_server.protocol.errors import RequestId, RpcError
from mcp_server.protocol.jsonrpc import Request
from mcp_server.protocol.meta import RoutingFields
from mcp_server.protocol.types.tools import CallToolResult
from mcp_server.sessions.event_log import EventLog
from mcp_server.sessions.session import Session
from mcp_server.store.backend import StoreUnavailable, owner_of
from mcp_server.web import event_stream, render
from mcp_server.web.bodies import RETRY_S, TOO_MUCH, Bodies, BodyRefused
from mcp_server.web.client_address import TrustedProxies
from mcp_server.web.disconnect import CallSupervisor, CallSupervisors, CancelReason
from mcp_server.web.event_stream import CallStream, SseResponse
from mcp_server.web.render import Headers, Reply
from mcp_server.web.sending import Outgoing
from mcp_server.web.trail import MAX_AUDITED, Trail

OTHER = "other"
DENIED = frozenset({"refused", "rejected"})
FOREVER_S = 10 * 365 * 86_400.0


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """What the endpoint is made of; built once by `app.py`. Times are in seconds."""

    dispatcher: Dispatcher
    challenger: Challenger
    audit: AuditLog
    replays: EventLog
    bodies: Bodies
    calls: ConcurrencyLimiter
    rate: RateLimiter
    messages: RateLimiter
    outgoing: Outgoing
    proxies: TrustedProxies = msgspec.field(default_factory=TrustedProxies)
    watches: CallSupervisors = msgspec.field(default_factory=CallSupervisors)
    step_up_as_error: bool = False
    call_timeout_s: float = 600
    keep_alive_s: float = 15


class HttpCall(msgspec.Struct, kw_only=True):
    """A request being answered. `principal` is None for strangers on a server with public tools."""

    parts: Services
    trail: Trail
    headers: Mapping[bytes, bytes]
    twice: AbstractSet[bytes]
    principal: Principal | None
    request_id: str
    address: str
    caller: str
    """Whom its limits count for, `limits.callers.key`."""
    send: Any
    receive: Any
    cors: Headers
    answers: RequestId | None = None
    """The one request that this exchange answers; None of a batch, and before it is read."""
    session: Session | None = None
    answering: CallStream | None = None
    opened: SseResponse | None = None
    listens: Opened | None = None
    needed: frozenset[str] = frozenset()
    counted: bool = False
    """Whether its message, or each of its batch, is counted already."""
    started: float = msgspec.field(default_factory=time.perf_counter)

    async def serve(self, request: Request, peek: RoutingFields, revision: str) -> Reply:
        """Admit and run one request, count it, and write down what was decided."""
        call = self._call(request, peek, revision)
        admitted: Admitted | NeedsScopes | RpcError | None = None
        answer, reason = None, "failed"
        try:
            admitted = self.parts.dispatcher.admit(call)
            answer, reason = await self._answer(call, admitted)
        except StoreUnavailable:
            reason = "store_away"
            raise
        finally:  # whatever became of it: this is the one line and the one count of a call
            self._record(call, admitted, answer, reason)
        if self.listens is not None:
            await self._carry(call, self.listens)
        return answer

    async def close(self, answer: Reply) -> Reply:
        """The answer itself, or, once a handler has spoken, its last event on the stream."""
        if self.answering is None:
            return answer
        if not self.answering.spoken:
            self.answering.end()
            return answer
        outgoing = self.parts.outgoing
        with outgoing.room(self.caller, len(answer.body)) as there_is:
            if not there_is:
                self.trail.note(self.trail.method, denied=True, reason=TOO_MUCH.reason)
                answer = render.overloaded(self.answers, TOO_MUCH.answer.reason, RETRY_S)
            async with outgoing.deadline(len(answer.body)):
                await self.answering.finish(answer.body)
        return msgspec.structs.replace(answer, sent=True)

    async def fail(self, answer: Reply) -> Reply:
        """An error that nobody foresaw, as the last event where a stream is open already."""
        if self.opened is None or not self.opened.opened:
            return answer
        await self.opened.close(sse.event(answer.body))
        return msgspec.structs.replace(answer, sent=True)

    def must_challenge(self, request: Request, peek: RoutingFields, revision: str) -> bool:
        """Whether `serve` would answer 401 or 403: a batch asks before any of its items runs."""
        admitted = self.parts.dispatcher.admit(self._call(request, peek, revision))
        return isinstance(admitted, NeedsScopes)

    def stopped(self) -> BodyRefused | None:
        """Why a call is refused already, before its body is there, where its header says what it will be."""
        if wait := self.parts.messages.behind(self.caller):
            answer, reason = too_fast(wait, None)
            return BodyRefused(reason, answer)
        if self.headers.get(b"mcp-method", b"").decode("latin-1") not in methods.RUNS_HANDLER:
            return None
        if wait := self.parts.rate.behind(self.caller):
            answer, reason = too_fast(wait, None)
        elif not self.parts.calls.has_room(self.caller):
            answer, reason = too_many(None)
        else:
            return None
        return BodyRefused(reason, answer)

    def paced(self, messages: int = 1) -> Reply | None:
        """Count messages that begin no handler; the refusal of one caller's flood of them.

        Each costs a line of the audit: unbounded, one reader's pings would rotate away what the audit says of others.
        """
        self.counted = True
        wait = self.parts.messages.wait(self.caller, messages)
        if not wait:
            return None
        answer, reason = too_fast(wait, self.answers)
        return msgspec.structs.replace(answer, reason=reason)

    def wire(self) -> SseResponse:
        """The way to answer with a stream."""
        self.opened = SseResponse(self.send, self.cors, self.parts.keep_alive_s)
        return self.opened

    def _call(self, request: Request, peek: RoutingFields, revision: str) -> Call:
        stated = peek.meta.traceparent
        header = self.headers.get(b"traceparent")
        text = stated if isinstance(stated, str) else header and header.decode("latin-1")
        return Call(
            request,
            peek,
            revision,
            self.principal,
            self.request_id,
            tracing.trace_id(text) if text else "",
            revision in revisions.MODERN_SET,
            self.session,
            self.headers,
            self.twice,
            self._open_sink,
        )

    def _open_sink(self) -> Sink:
        """The stream of this answer, made when a handler first could speak; of a batch, all items share it."""
        if self.answering is None:
            session = self.session
            self.answering = CallStream(
                self.wire(),
                None if session is None else self.parts.replays,
                owner="" if session is None else owner_of(session.principal_key),
                session="" if session is None else session.id,
                stream=f"{self.parts.dispatcher.bus.backend.worker}-{self.request_id}",
                primes=session is not None and revisions.primes_streams(session.revision),
                needed=self.needed,
            )
        return self.answering

    async def _answer(self, call: Call, admitted: Admitted | NeedsScopes | RpcError) -> tuple[Reply, str]:
        request_id = call.request.id
        runs = isinstance(admitted, Admitted) and call.request.method in methods.RUNS_HANDLER
        if not runs and not self.counted and (refused := self.paced()):
            return refused, refused.reason
        if not isinstance(admitted, Admitted):
            return self._not_admitted(call, admitted)
        if runs:
            if wait := self.parts.rate.wait(self.caller):
                return too_fast(wait, request_id)
            if not self.parts.calls.acquire(self.caller):
                return too_many(request_id)
            value = await self._run(admitted, Place(self.parts.calls, self.caller))
        else:
            value = await self.parts.dispatcher.run(admitted)
        if isinstance(value, CallToolResult):
            outcome = "tool_error" if value.is_error is True else "ok"
            return self._encoded(call, value, outcome)
        if isinstance(value, RpcError):
            return render.rejected(value.for_request(request_id)), str(value.code)
        if isinstance(value, Reply):
            return value, value.outcome
        if isinstance(value, Opened):
            return self._listen(call, value)
        return self._encoded(call, value, "ok")

    def _encoded(self, call: Call, value: object, outcome: str) -> tuple[Reply, str]:
        """The answer's bytes; what a handler returned may have no JSON form, as a text with half a surrogate has."""
        try:
            return render.result(call.request.id, value, outcome=outcome), ""
        except (msgspec.MsgspecError, TypeError, ValueError):
            logger.exception("a result cannot be encoded", method=call.request.method)
            failed = msgspec.structs.replace(errors.internal_error(), status=200)
            return render.rejected(failed.for_request(call.request.id)), "not_encodable"

    def _not_admitted(self, call: Call, refused: NeedsScopes | RpcError) -> tuple[Reply, str]:
        if isinstance(refused, RpcError):
            return render.rejected(refused.for_request(call.request.id)), str(refused.code)
        reason = DenialReason.NO_CREDENTIALS if self.principal is None else DenialReason.INSUFFICIENT_SCOPE
        # Clients of the legacy revisions ask for what is named and no more (2025-11-25 authorization §Scope Challenge);
        # those of 2026-07-28 add it to what they have.
        granted = frozenset() if call.modern or self.principal is None else claims.granted(self.principal)
        return self._challenge(AccessDenied(reason=reason, scopes=refused.needed, granted=granted), call)

    async def _run(self, admitted: Admitted, place: Place) -> object | RpcError:
        """Run an author's code, then give its slot back; who hangs up (modern) or cancels (legacy) ends it."""
        call = admitted.call
        dispatcher, session = self.parts.dispatcher, self.session
        watch = CallSupervisor(self.parts.watches, self.receive if call.modern else None, self.parts.call_timeout_s)
        if session is not None:
            self.needed |= admitted.needed
            dispatcher.calls.begun(session.id, call.request.id, functools.partial(self._cancel, watch))
        try:
            return await dispatcher.invoker.run(admitted, place)
        except asyncio.CancelledError:
            if not watch.forgiven():
                raise
            return _stopped(watch.reason)
        finally:
            place.release()
            watch.stop()
            if session is not None:
                dispatcher.calls.ended(session.id, call.request.id)

    def _cancel(self, watch: CallSupervisor) -> None:
        """A legacy client does not want the answer any more, nor anything else about its request.

        The items of a batch share their stream: there the others go on speaking.
        """
        if self.answering is not None and self.answers is not None:
            self.answering.end()
        watch.cancelled()

    def _listen(self, call: Call, opened: Opened) -> tuple[Reply, str]:
        """The answer to `subscriptions/listen` is a stream, which begins when this is written down."""
        if not self.parts.dispatcher.listeners.add(opened.listener):
            return render.overloaded(call.request.id, "too many streams", 5), "too_many_streams"
        self.listens = opened
        return Reply(200, [], sent=True), ""

    async def _carry(self, call: Call, opened: Opened) -> None:
        """The stream of a subscription, for as long as its token and its client last."""
        expires = self.principal.expires_at if self.principal else 0.0
        last = jsonrpc.result(call.request.id, self.parts.dispatcher.listened(call.request.id))
        await event_stream.listen(
            self.wire(),
            self.receive,
            self.parts.dispatcher.listeners,
            opened.listener,
            frames=(opened.first, last),
            until_s=min(max(expires - time.time(), 0), FOREVER_S),
        )

    def _challenge(self, refusal: AccessDenied, call: Call) -> tuple[Reply, str]:
        metrics.refused(refusal.reason.slug)
        scoped = refusal.reason is DenialReason.INSUFFICIENT_SCOPE
        if scoped and self.parts.step_up_as_error:
            text = f"{refusal.reason.public}: {', '.join(sorted(refusal.scopes))}"
            shaped = downgrade.call_result(tools.failed(text), call.revision, self.parts.dispatcher.server_meta)
            return render.result(call.request.id, shaped, outcome="refused"), refusal.reason.slug
        answer = render.refused(refusal, self.parts.challenger, call.request.id)
        return answer, refusal.reason.slug

    def _record(
        self, call: Call, admitted: Admitted | NeedsScopes | RpcError | None, answer: Reply | None, reason: str
    ) -> None:
        method = call.request.method
        if isinstance(admitted, Admitted):
            known, needed = admitted.name, admitted.needed
        else:
            known = self.parts.dispatcher.tool_name(call)
            needed = admitted.needed if isinstance(admitted, NeedsScopes) else frozenset()
        outcome = "failed" if answer is None else answer.outcome
        meter = _meters.get((method, known)) or _meter(method if method in methods.REVISIONS_OF else OTHER, known)
        meter.record(outcome, time.perf_counter() - self.started)
        who = self.principal
        self.trail.write(
            Decision(
                time.time(),
                "deny" if outcome in DENIED or admitted is None else "allow",
                reason or ("" if outcome == "ok" else outcome),
                self.request_id,
                self.address,
                call.trace_id,
                "" if who is None else who.issuer,
                "" if who is None else who.subject,
                "" if who is None else who.client_id[:MAX_AUDITED],
                method[:MAX_AUDITED],
                known or (call.found[0] if call.found else ""),
                needed or (),
                () if who is None else who.scopes or (),
                "" if who is None else who.token_digest,
                "" if who is None or who.kind == "user" else who.kind,
            )
        )


def too_fast(wait_s: float, request_id: RequestId | None) -> tuple[Reply, str]:
    """The answer to one call too many in a second, and its word in the audit."""
    return render.overloaded(request_id, "too many calls in a second", math.ceil(wait_s)), "too_fast"


def too_many(request_id: RequestId | None) -> tuple[Reply, str]:
    """The answer to one call too many at once, and its word in the audit."""
    return render.overloaded(request_id, "too many calls at once", 1), "too_many_at_once"


def _stopped(reason: CancelReason | None) -> object | RpcError:
    """What a call that was ended from outside answers."""
    if reason == "late":
        return RpcError(code=errors.INTERNAL_ERROR, message="The call took too long")
    if reason == "gone":
        return Reply(200, [], outcome="cancelled", sent=True)
    return render.silent()


_meters: dict[tuple[str, str], metrics.CallMeter] = {}


def _meter(method: str, tool: str) -> metrics.CallMeter:
    """The meter of a (method, tool): both from closed sets, so there are only so many."""
    meter = _meters.get((method, tool))
    if meter is None:
        meter = _meters[method, tool] = metrics.CallMeter(method, tool)
    return meter
