"""The MCP endpoint: intake → who calls → which era → engine → reply (design §3). One ASGI callable, both eras."""

import itertools
import os
from collections.abc import Callable
from typing import Any, Final

import msgspec

from mcp_server.auth.authenticator import Authenticator
from mcp_server.auth.refusals import AccessDenied, DenialReason
from mcp_server.auth.tokens.bearer import NoCredentials
from mcp_server.engine.call import HeaderFields
from mcp_server.identity import Principal
from mcp_server.observe import metrics, tracing
from mcp_server.observe.log import logger
from mcp_server.observe.tracing import Trace
from mcp_server.protocol import errors
from mcp_server.protocol.errors import RequestId, RpcError
from mcp_server.protocol.inbound import Legacy, LegacyBatch, Modern, ModernNotification, classify
from mcp_server.protocol.jsonrpc import Request
from mcp_server.store.backend import StoreUnavailable
from mcp_server.web import authn, legacy, render
from mcp_server.web.http_call import HttpCall, Services
from mcp_server.web.incoming import request_guard
from mcp_server.web.incoming.bodies import TOO_MUCH, Body
from mcp_server.web.incoming.request_guard import HttpPolicy
from mcp_server.web.outgoing.closing import closing_while
from mcp_server.web.outgoing.sending import LARGE
from mcp_server.web.render import Reply
from mcp_server.web.trail import Trail, join_state, name_of

TOO_MANY_REQUESTS: Final = 429
POLICY_VIOLATION: Final = 1008
"""RFC 6455 §7.4.1."""


class Endpoint:
    """What answers at `MCP_PATH`; `resource` is the public URL, which proofs of possession name.

    `lazy` is whether anything is offered without a token now, for tools come and go: others are then not challenged.
    """

    def __init__(
        self,
        services: Services,
        authenticator: Authenticator,
        policy: HttpPolicy,
        *,
        resource: str,
        lazy: Callable[[], bool],
    ) -> None:
        self._services, self._authenticator = services, authenticator
        self._policy, self._resource, self._lazy = policy, resource, lazy
        self._prefix = os.urandom(6).hex()
        self._numbers = itertools.count(1)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one HTTP request."""
        if scope["type"] == "websocket":
            await self._refuse_websocket(scope, send)
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        services = self._services
        traces = services.pipeline.traces
        begun: Trace | None = None
        request_id = ""
        if b"traceparent" in headers:
            join_state(scope["headers"], headers)
            begun = traces.request(headers)
            request_id = name_of(begun)
        elif (spans := traces.spans) is not None:
            begun, request_id = traces.begin(spans)
        if not request_id:
            request_id = f"{self._prefix}{next(self._numbers):x}"
        address = services.proxies.address(scope)
        trail = Trail(request_id, begun, audit=services.audit, address=address, method=scope["method"])
        token = tracing.here.set(trail)
        answer: Reply | None = None
        try:
            answer = await self._answer(scope, (receive, send), headers, trail)
            if answer.status == TOO_MANY_REQUESTS and trail.proof is not None and not answer.sent:
                await self._authenticator.give_back(trail.proof)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client gets an answer and the log a line
            answer = _failed(error, None)
        finally:
            tracing.here.reset(token)
            if trail.written != "call":
                self._settle(trail, scope["path"], headers, answer)
        if answer.sent:
            return
        if b"origin" in headers or services.outgoing.drain.draining or len(answer.body) > LARGE:
            await self._send_otherwise(answer, send, headers, trail)
            return
        start, body = render.messages(answer, head=scope["method"] == "HEAD")
        await send(start)
        await send(body)

    def _settle(self, trail: Trail, path: str, headers: dict[bytes, bytes], answer: Reply | None) -> None:
        """Write down and trace what became no call."""
        traces = self._services.pipeline.traces
        if traces.on:
            trail.begin(traces, headers)
        trail.settle(answer)
        if trail.trace is not None:
            trail.span(traces, path, headers.get(b"mcp-method", b"").decode("latin-1"), answer)

    async def _refuse_websocket(self, scope: Any, send: Any) -> None:
        """MCP has no websocket: its opening is refused, with a status where the server can send one, else by a 403."""
        request_id, address = f"{self._prefix}{next(self._numbers):x}", self._services.proxies.address(scope)
        answer = render.plain(400, "no websocket here")
        Trail(audit=self._services.audit, request_id=request_id, address=address, method="GET").settle(answer)
        if "websocket.http.response" not in (scope.get("extensions") or {}):
            await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": answer.reason})
            return
        for message in render.messages(answer):
            await send({**message, "type": f"websocket.{message['type']}"})

    async def _send_otherwise(self, answer: Reply, send: Any, headers: dict[bytes, bytes], trail: Trail) -> None:
        """An answer to a browser, one while the server drains, a large one."""
        send = closing_while(self._services.outgoing.drain, send)
        answer = answer.with_headers(request_guard.cors(headers, self._policy))
        if len(answer.body) > LARGE:
            await self._send_large(answer, send, trail)
            return
        for message in render.messages(answer, head=trail.method == "HEAD"):
            await send(message)

    async def _send_large(self, answer: Reply, send: Any, trail: Trail) -> None:
        """An answer that counts as its caller's until it is read; beyond its bound it is lost, though its call ran."""
        outgoing = self._services.outgoing
        with outgoing.room(trail.caller, len(answer.body)) as there_is:
            if there_is:
                await send(render.messages(answer)[0])
                await outgoing.send(send, answer.body)
                return
        trail.note(trail.method, denied=True, reason=TOO_MUCH.reason)
        for message in render.messages(TOO_MUCH.answer):
            await send(message)

    async def _answer(self, scope: Any, channel: tuple[Any, Any], headers: dict[bytes, bytes], trail: Trail) -> Reply:
        method = scope["method"]
        twice = authn.repeated(scope["headers"], headers)
        stopped = request_guard.check(headers, method, self._policy, twice)
        if stopped is not None:
            return stopped
        if self._services.audit.refuses:
            return render.unavailable(None, "audit_failing")
        found = authn.identify(scope, headers, twice, self._authenticator, self._resource, trail)
        if isinstance(found, Principal):
            outcome: authn.Outcome = found
        else:
            trail.begin(self._services.pipeline.traces, headers)
            outcome = await found
        if isinstance(outcome, Principal):
            trail.principal = outcome
        elif isinstance(outcome, AccessDenied) or not self._lazy():
            return self._refuse(outcome, trail)
        cors = request_guard.cors(headers, self._policy) if b"origin" in headers else []
        call = HttpCall(self._services, trail, HeaderFields(headers, twice), channel, cors)
        try:
            if method == "POST":
                answer = await self._post(call)
                call.answered = True
                if call.stream is not None:
                    answer = await call.close(answer)
                return render.as_stream(answer) if request_guard.prefers_stream(headers) else answer
            trail.begin(self._services.pipeline.traces, headers)
            return call.count() or await legacy.without_message(call, method)
        except Exception as error:  # noqa: BLE001 - a stranger never sees a trace
            call.answered = True
            return await call.fail(_failed(error, call.answers))
        except BaseException:
            call.answered = True
            call.abandon()
            raise

    async def _post(self, call: HttpCall) -> Reply:
        bodies, watch = self._services.bodies, self._services.pipeline.supervisor()
        try:
            body = await bodies.read(call, watch, request_guard.declared_length(call.fields.values))
        finally:
            if watch.since_ns:
                call.trail.since_ns = watch.since_ns
        if not isinstance(body, Body):
            return msgspec.structs.replace(body.answer, reason=body.reason)
        call.supervisor = watch
        try:
            inbound = classify(call.fields.values, body.data, call.fields.repeated)
            if isinstance(inbound, Modern):
                call.answers = inbound.request.id
                return await call.serve(inbound.request, inbound.peek, inbound.revision)
            return await self._answer_other(call, inbound)
        finally:
            if body.counted:  # nearly none is
                bodies.release(call.caller, body)

    async def _answer_other(
        self, call: HttpCall, inbound: Legacy | LegacyBatch | ModernNotification | RpcError
    ) -> Reply:
        messages = len(inbound.items) if type(inbound) is LegacyBatch else 1
        if refused := call.count(messages):  # a batch before any of its items runs
            return refused
        if isinstance(inbound, Legacy):
            if isinstance(inbound.message, Request):
                call.answers = inbound.message.id
            return await legacy.serve(call, inbound)
        if isinstance(inbound, LegacyBatch):
            return await legacy.serve(call, inbound)
        if isinstance(inbound, ModernNotification):
            call.trail.note(inbound.notification.method)
            return render.accepted()
        return render.rejected(inbound)

    def _refuse(self, outcome: AccessDenied | NoCredentials, trail: Trail) -> Reply:
        refusal = outcome if isinstance(outcome, AccessDenied) else AccessDenied(reason=DenialReason.NO_CREDENTIALS)
        slug = refusal.reason.slug
        metrics.refused(slug)
        trail.decide()
        if refusal.detail:
            logger.info(
                "caller refused",
                reason=slug,
                detail=refusal.detail,
                token_digest=refusal.token_digest,
                address=trail.address,
            )
        trail.refusal = refusal
        return render.refused(refusal, self._services.challenger)


def _failed(error: Exception, request_id: RequestId | None) -> Reply:
    """What is told of an exception: that the store is away, or nothing."""
    if isinstance(error, StoreUnavailable):
        logger.error("the shared store is away", reason=str(error))
        return render.unavailable(request_id)
    logger.opt(exception=error).error("request failed")
    return render.rejected(errors.internal_error().for_request(request_id))
