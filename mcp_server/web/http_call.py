"""One HTTP request on its way through the endpoint: a call's channel over HTTP, and how its outcome is rendered."""

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable
from typing import Any, assert_never

import msgspec
from msgspec import UNSET

from mcp_server.auth.challenge import Challenger
from mcp_server.engine import limiting, spans
from mcp_server.engine.call import Admitted, Call, Challenged, HeaderFields, Standing
from mcp_server.engine.methods import tools
from mcp_server.engine.outcome import (
    Cancelled,
    Completed,
    Denied,
    Failed,
    Limited,
    NeedsInput,
    Outcome,
    Subscribed,
    ToolFailed,
    Unavailable,
)
from mcp_server.engine.pipeline import Pipeline
from mcp_server.engine.supervisor import CallSupervisor
from mcp_server.identity import Credential
from mcp_server.observe.audit import AuditLog
from mcp_server.observe.log import logger
from mcp_server.observe.tracing import Trace
from mcp_server.protocol import downgrade, jsonrpc, revisions, sse
from mcp_server.protocol.errors import AUTHORIZATION_ERROR, RequestId, RpcError
from mcp_server.protocol.jsonrpc import Request
from mcp_server.protocol.meta import Meta, RoutingFields
from mcp_server.protocol.types.tools import CallToolResult
from mcp_server.sessions.event_log import EventLog, StreamAccess
from mcp_server.sessions.session import Session
from mcp_server.store.backend import owner_of
from mcp_server.web import authn, render, step_up
from mcp_server.web.disconnect import disconnected
from mcp_server.web.incoming import request_guard
from mcp_server.web.incoming.bodies import RETRY_S, TOO_MUCH, Bodies, BodyRefused
from mcp_server.web.incoming.client_address import TrustedProxies
from mcp_server.web.outgoing import event_stream
from mcp_server.web.outgoing.closing import closing_while
from mcp_server.web.outgoing.event_stream import CallStream, SseResponse
from mcp_server.web.outgoing.sending import Outgoing
from mcp_server.web.render import Headers, Reply
from mcp_server.web.step_up import StepUp
from mcp_server.web.trail import Trail

FOREVER_S = 10 * 365 * 86_400.0


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """What the endpoint is made of; built once by `app.py`. Times are in seconds."""

    pipeline: Pipeline
    challenger: Challenger
    audit: AuditLog
    events: EventLog
    bodies: Bodies
    outgoing: Outgoing
    proxies: TrustedProxies = msgspec.field(default_factory=TrustedProxies)
    step_up: StepUp = StepUp()
    keep_alive_s: float = 15


class HttpCall:
    """A request being answered; of a batch, all items share it. It is the channel of each call in it.

    `principal` is None for unauthenticated callers of a server with public tools; `answers` is the one request that is
    answered, None of a batch and before it is read.
    """

    # Of the class until a request sets them, which few do.
    answers: RequestId | None = None
    session: Session | None = None
    conversation = ""
    supervisor: CallSupervisor | None = None
    standing: Standing = ()
    kept_for = StreamAccess()
    """What who comes back to the stream must hold."""
    settled = False
    """Whether what the client gets is told already as far as its status: an item of a batch has run."""
    counted = False
    outcome: Outcome | None = None
    stream: CallStream | None = None
    answered = False
    """From here on nothing may open the stream any more: the answer is on its way."""
    _early: asyncio.Task[Reply] | None = None
    """The answer that is given for a handler which was ended and goes on."""
    _opened: SseResponse | None = None
    _silent = False
    _revision = ""

    def __init__(
        self,
        services: Services,
        trail: Trail,
        fields: HeaderFields,
        channel: tuple[Any, Any],
        cors: Headers,
    ) -> None:
        self.services, self.trail, self.fields, self.caller = services, trail, fields, trail.caller
        self.principal, self.address = trail.principal, trail.address
        self.receive, self._send = channel
        self._cors = cors

    @property
    def hung_up(self) -> Callable[[], Awaitable[None]] | None:
        """A modern client that goes ends its call; a legacy one may come back."""
        return functools.partial(disconnected, self.receive) if self._revision in revisions.MODERN_SET else None

    @property
    def credential(self) -> Credential | None:
        """The caller's token, opaque."""
        return authn.credential(self.fields.values, self.principal)

    def header(self, name: str) -> str | None:
        """A header of this request; one that was sent twice is nobody's word."""
        key = name.lower().encode("latin-1", "replace")
        value = None if key in self.fields.repeated else self.fields.values.get(key)
        return None if value is None else value.decode("latin-1")

    def join(self, session: Session) -> None:
        """The request is of a legacy session, which may cancel it; over HTTP a modern client cancels by hanging up."""
        self.session, self.conversation = session, session.id

    async def serve(self, request: Request, peek: RoutingFields, revision: str) -> Reply:
        """The answer to one request; `outcome` is what became of it."""
        call = self._call(request, peek, revision)
        self._revision = revision
        try:
            self.outcome = outcome = await self.services.pipeline.serve(call, counted=self.counted)
        finally:
            self.trail.written = "call"
        if self._early is not None:
            return await self._early
        if self.standing:
            return self._standing_told(self._render(call, outcome))
        if type(outcome) is Completed:  # nearly every call: to ask for the others first costs more than its answer
            return Reply(200, render.RESULT, outcome.message)
        if isinstance(outcome, Subscribed):
            await self._carry(call, outcome)
        return self._render(call, outcome)

    def would_challenge(self, request: Request, peek: RoutingFields, revision: str) -> bool:
        """Whether `serve` would answer 401 or 403: a batch asks of each item before any of them runs.

        What an item needs that may run is noted: they share a stream, whose head is written when the first speaks.
        """
        call = self._call(request, peek, revision)
        admission = self.services.pipeline.runtime.admit(call)
        if isinstance(admission, Admitted) and self.session is not None:
            self.begun(admission.kept_for, (request.method, admission.name))
        if not isinstance(admission, Challenged):
            return False
        scopes_alone = call.principal is not None and admission.login is None
        return not self._told_in_result(call, 403 if scopes_alone else 401)

    async def close(self, answer: Reply) -> Reply:
        """The answer itself, or, once a handler has spoken, its last event on the stream."""
        if self.stream is None or (self._early is not None and answer.sent):
            return answer
        if not self.stream.spoken:
            self.stream.end()
            return answer
        outgoing = self.services.outgoing
        with outgoing.room(self.caller, len(answer.body)) as there_is:
            if not there_is:
                self.trail.note(self.trail.method, denied=True, reason=TOO_MUCH.reason)
                answer = render.overloaded(self.answers, TOO_MUCH.answer.reason, RETRY_S)
            async with outgoing.deadline(len(answer.body)):
                await self.stream.finish(answer.body)
        return msgspec.structs.replace(answer, sent=True)

    def answer_for(self, call: Call, outcome: Outcome) -> None:
        """Answer for a handler that was ended and goes on: its request is over for the client, if not for us."""
        if self.answers is not None:  # else a batch
            self._early = asyncio.create_task(self._answer_early(self._render(call, outcome)))

    async def _answer_early(self, answer: Reply) -> Reply:
        """Never twice: what the endpoint does with its answer later is nothing, for this one is sent."""
        self.answered = True
        if answer.sent:  # nobody is there: a stream that the handler opened now, nothing would end
            if self.stream is not None:
                self.stream.end()
            self.abandon()
            return answer
        try:
            if self.stream is not None:
                answer = await self.close(answer)
            if not answer.sent:
                answer = render.as_stream(answer) if request_guard.prefers_stream(self.fields.values) else answer
                send = closing_while(self.services.outgoing.drain, self._send)
                for message in render.messages(answer.with_headers(self._cors)):
                    await send(message)
        except Exception as error:  # noqa: BLE001 - as for every answer, a client may have gone
            logger.info("a waiting client cannot be told", reason=type(error).__name__)
        return msgspec.structs.replace(answer, sent=True)

    async def fail(self, answer: Reply) -> Reply:
        """An error that nobody foresaw, as the last event where a stream is open already, or about to be."""
        if self.stream is not None and self.stream.spoken:
            await self.stream.finish(answer.body)
            return msgspec.structs.replace(answer, sent=True)
        if self.stream is not None:
            self.stream.end()
        if self._opened is None or not self._opened.opened:
            return answer
        await self._opened.close(sse.event(answer.body))
        return msgspec.structs.replace(answer, sent=True)

    def refused_unread(self) -> BodyRefused | None:
        """Why a call is refused already, before its body is there, where its header says what it will be."""
        method = self.fields.values.get(b"mcp-method", b"").decode("latin-1")
        limited = self.services.pipeline.would_refuse(self.caller, method)
        return None if limited is None else BodyRefused(limited.reason, not_begun(limited, None))

    def count(self, messages: int = 1) -> Reply | None:
        """Count messages that begin no handler; the refusal of a flood of them."""
        self.counted = True
        limited = self.services.pipeline.count(self.caller, messages)
        return None if limited is None else not_begun(limited, self.answers)

    def abandon(self) -> None:
        """The task of this request was ended from outside: nothing goes on being sent for it."""
        if self._opened is not None:
            self._opened.abandon()

    def wire(self) -> SseResponse:
        """The way to answer with a stream."""
        send = closing_while(self.services.outgoing.drain, self._send)
        self._opened = SseResponse(send, self._cors, self.services.keep_alive_s)
        return self._opened

    def begun(self, needed: frozenset[str], about: tuple[str, str]) -> None:
        """A stream that is kept for who comes back holds answers that need these scopes."""
        kept_for = self.kept_for.also(needed, about)
        if self.stream is not None and kept_for != self.kept_for:
            self.stream.forget()  # an item's tool came or changed after the batch: the head does not ask for it
        self.kept_for = kept_for

    def open_sink(self) -> CallStream:
        """The stream of this answer, made when a handler first speaks."""
        if self.stream is None:
            session = self.session
            backend = self.services.pipeline.runtime.bus.backend
            self.stream = CallStream(
                self.wire(),
                None if session is None else self.services.events,
                owner="" if session is None else owner_of(session.principal_key),
                session="" if session is None else session.id,
                stream=f"{backend.worker}-{self.trail.request_id}",
                primes=session is not None and revisions.primes_streams(session.revision),
                kept_for=self.kept_for,
            )
            if self.answered or self._silent:  # a handler's own task goes on speaking: a second answer would begin
                self.stream.end()
        return self.stream

    @property
    def quiet_s(self) -> float | None:
        """As often as an open stream has its comments, where the client takes a stream at all."""
        return self.services.keep_alive_s if request_guard.takes_stream(self.fields.values) else None

    async def stay_open(self) -> None:
        """Open the answer's stream, which from then on keeps itself alive, unless the answer is there already."""
        if not self.answered:
            await self.open_sink().open()

    def silence(self) -> None:
        """A legacy client does not want the answer any more, nor anything else about its request.

        The items of a batch share their stream: there the others go on speaking.
        """
        if self.answers is None:
            return
        self._silent = True
        if self.stream is not None:
            self.stream.end()

    def lifetime_s(self) -> float:
        """How long a stream may last: as long as the token."""
        expires = self.principal.expires_at if self.principal else 0.0
        return min(max(expires - time.time(), 0), FOREVER_S)

    def _call(self, request: Request, peek: RoutingFields, revision: str) -> Call:
        return Call(
            request=request,
            peek=peek,
            revision=revision,
            principal=self.principal,
            request_id=self.trail.request_id,
            trace=self._trace(peek.meta),
            session=self.session,
            headers=self.fields,
            channel=self,
        )

    def _trace(self, meta: Meta) -> Trace | None:
        """What the message says of its trace counts before what HTTP says (SEP-414)."""
        trail, traces = self.trail, self.services.pipeline.traces
        stated = None if meta.traceparent is UNSET or traces.mode == "ignore" else spans.stated(meta)
        if stated is not None or self.settled or (trail.trace is not None and trail.trace.maker is not None):
            return traces.call(trail.trace, stated, known=self.principal is not None)
        return trail.trace

    def denied_status(self, call: Call, denied: Denied) -> int:
        """The status that the refusal will have; a tool's result may carry it, and one that comes late has none."""
        status = step_up.refusal(call, denied).reason.status
        return 200 if self._too_late or self._told_in_result(call, status) else status

    def _render(self, call: Call, outcome: Outcome) -> Reply:
        match outcome:
            case Completed(message) | NeedsInput(message) | ToolFailed(message):
                return Reply(200, render.RESULT, message)
            case Failed(error):
                return render.rejected(error)
            case Denied():
                return self._challenge(call, outcome)
            case Limited() | Unavailable():
                return not_begun(outcome, call.request.id)
            case Subscribed():
                return Reply(200, [], sent=True)
            case Cancelled(why):
                return render.silent() if why == "cancelled" else Reply(200, [], outcome="cancelled", sent=True)
            case _:
                assert_never(outcome)

    def _standing_told(self, reply: Reply) -> Reply:
        """With how the caller stands with its limits; a batch has one head for many calls, and it says nothing."""
        if self.answers is None:
            return reply
        fields = limiting.header_fields(self.standing)
        return reply.with_headers([(name.encode(), value.encode("latin-1")) for name, value in fields])

    def _challenge(self, call: Call, denied: Denied) -> Reply:
        """401 or 403 with the challenge that names the scopes, or the tool's result that carries it.

        A handler may find out late what it needs: once the answer has begun, there is no status to say it with.
        """
        refusal = step_up.refusal(call, denied)
        if self._told_in_result(call, refusal.reason.status):
            result = self.services.step_up.result(refusal, self.services.challenger)
            return self._failed_tool(call, result, refusal.reason.slug)
        if self._too_late:
            return self._told_late(call, denied)
        return render.refused(refusal, self.services.challenger, call.request.id)

    @property
    def _too_late(self) -> bool:
        """Whether the answer has begun, or others' are in it: what its status is, is settled."""
        return self.settled or (self.stream is not None and self.stream.spoken)

    def _told_in_result(self, call: Call, status: int) -> bool:
        user_agent = self.fields.values.get(b"user-agent", b"")
        return self.services.step_up.in_result(call.request.method, status, user_agent)

    def _failed_tool(self, call: Call, result: CallToolResult, reason: str) -> Reply:
        shaped = downgrade.call_result(result, call.revision, self.services.pipeline.runtime.server_meta)
        return Reply(200, render.RESULT, jsonrpc.result(call.request.id, shaped), outcome="refused", reason=reason)

    def _told_late(self, call: Call, denied: Denied) -> Reply:
        """A tool's result that names the scopes, and of everything else a JSON-RPC error."""
        if call.request.method == "tools/call":
            return self._failed_tool(call, tools.failed(denied.text), denied.reason)
        error = RpcError(code=AUTHORIZATION_ERROR, message=denied.text, request_id=call.request.id)
        return Reply(200, render.RESULT, jsonrpc.failure(error), outcome="refused", reason=denied.reason)

    async def _carry(self, call: Call, subscribed: Subscribed) -> None:
        """The stream of a subscription, for as long as its token and its client last."""
        runtime = self.services.pipeline.runtime
        last = jsonrpc.result(call.request.id, runtime.listened(call.request.id))
        await event_stream.listen(
            self.wire(),
            self.receive,
            runtime.listeners,
            subscribed.subscription,
            frames=(subscribed.first, last),
            until_s=self.lifetime_s(),
        )


def not_begun(outcome: Limited | Unavailable, request_id: RequestId | None) -> Reply:
    """What can be tried again: over a limit, or something is away."""
    if isinstance(outcome, Unavailable):
        return render.unavailable(request_id, outcome.reason)
    answer = render.overloaded(request_id, outcome.text, outcome.retry_after_s)
    return msgspec.structs.replace(answer, reason=outcome.reason)
