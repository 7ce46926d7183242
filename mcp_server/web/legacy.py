"""The legacy eras over HTTP: sessions, batches, GET streams, DELETE (2025-11-25 transports; 2025-03-26 §Batching)."""

import asyncio
import functools
import secrets
from typing import Final

from mcp_server.engine.methods import lifecycle
from mcp_server.engine.outcome import Completed, Denied
from mcp_server.identity import marks_of
from mcp_server.protocol import errors, headers, revisions, sse
from mcp_server.protocol.errors import RpcError
from mcp_server.protocol.inbound import Legacy, LegacyBatch
from mcp_server.protocol.jsonrpc import Notification, Request, Response
from mcp_server.protocol.types.notifications import SubscriptionFilter
from mcp_server.sessions.event_log import StreamAccess
from mcp_server.sessions.session import Session
from mcp_server.sessions.subscriptions import Subscription, session_changes
from mcp_server.web import render
from mcp_server.web.http_call import HttpCall, not_begun
from mcp_server.web.incoming import request_guard
from mcp_server.web.outgoing import event_stream
from mcp_server.web.render import Reply

LAST_EVENT: Final = b"last-event-id"
MAX_SESSION_ID: Final = 256
_SESSION_GONE = "session not found"


async def serve(call: HttpCall, inbound: Legacy | LegacyBatch) -> Reply:
    """Answer one message or a batch, in the revision that its session or header names."""
    agreed = None
    if headers.SESSION in call.fields.values:
        found = await _session(call)
        if isinstance(found, Session):
            call.join(found)
            agreed = found.revision
        elif found is not None:
            return found
    if not isinstance(inbound, Legacy):
        return await _batch(call, inbound, agreed or inbound.stated)
    if not isinstance(inbound.message, Request):
        await _take(call, inbound.message)
        return render.accepted()
    if inbound.message.method == "initialize":
        return await _initialize(call, inbound.message, inbound)
    revision = agreed or inbound.stated or revisions.BATCHING
    return await call.serve(inbound.message, inbound.peek, revision)


async def without_message(call: HttpCall, method: str) -> Reply:
    """GET, HEAD and DELETE."""
    return await (end_session(call) if method == "DELETE" else listen(call, opens=method == "GET"))


async def listen(call: HttpCall, *, opens: bool) -> Reply:
    """GET: the session's own stream, or the rest of one that broke off (`Last-Event-ID`); HEAD `opens` none."""
    if (refused := _other_era(call)) is not None:
        return refused
    session = await _session(call)
    if isinstance(session, Reply):
        return session
    runtime = call.services.pipeline.runtime
    if session is None or call.principal is None:
        return render.plain(405, "no stream here", [request_guard.WITHOUT_SESSION])
    if not opens:
        return Reply(200, event_stream.HEAD)
    token = secrets.token_hex(8)
    came_for = _last_event(call)
    resumed = came_for is not None and await call.services.events.knows(
        session.id, came_for, runtime.policy.may_come_back(call.principal)
    )
    readable = functools.partial(runtime.policy.readable, principal=call.principal)
    listener = Subscription(
        call.principal.key,
        SubscriptionFilter() if resumed else session_changes(readable(session.subscriptions)),
        session=session.id,
        token="" if resumed else token,
        readable=readable,
    )
    listener.principal = call.principal
    if (none_opens := call.services.pipeline.add_stream(listener)) is not None:
        return not_begun(none_opens, None)
    until_s = call.lifetime_s()
    if resumed and came_for is not None:
        call.trail.note("GET")
        events = call.services.events.follow(session.id, came_for, listener)
        await event_stream.resume(call.wire(), call.receive, runtime.listeners, listener, events, until_s=until_s)
        return Reply(200, [], sent=True)
    try:
        await runtime.listeners.opened(listener)
        call.trail.note("GET")
    except BaseException:  # the store is away, or the client: the stream never opens, its slot must come back
        runtime.listeners.remove(listener)
        raise
    await event_stream.listen(
        call.wire(), call.receive, runtime.listeners, listener, frames=(b"", b""), until_s=until_s
    )
    return Reply(200, [], sent=True)


async def end_session(call: HttpCall) -> Reply:
    """DELETE: the principal's own session ends."""
    if (refused := _other_era(call)) is not None:
        return refused
    session_id = call.fields.values.get(headers.SESSION)
    sessions = call.services.pipeline.runtime.sessions
    if sessions is None or call.principal is None:
        return render.plain(405, "no sessions here", [request_guard.WITHOUT_SESSION])
    if session_id is None:
        return render.plain(400, "Mcp-Session-Id is missing")
    if await sessions.close(session_id.decode("latin-1"), call.principal.key):
        call.trail.note("DELETE")
        return Reply(204, [])
    return render.plain(404, _SESSION_GONE)


def _other_era(call: HttpCall) -> Reply | None:
    """GET and DELETE are of the legacy eras: a modern version header makes neither, an unknown one a bad request."""
    stated = call.fields.values.get(headers.VERSION)
    if stated is None:
        return None
    version = stated.strip(b" \t").decode("latin-1")
    if version in revisions.MODERN_SET:
        return render.plain(405, "no such method in this revision", [request_guard.WITHOUT_SESSION])
    if version not in revisions.LEGACY_SET:
        return render.rejected(errors.unsupported_version(version, list(revisions.MODERN)))
    return None


async def _session(call: HttpCall) -> Session | Reply | None:
    """The session named in the header; 404 for one that is not this caller's or not any more."""
    session_id = call.fields.values.get(headers.SESSION)
    sessions = call.services.pipeline.runtime.sessions
    if session_id is None or sessions is None:
        return None
    if call.principal is None or len(session_id) > MAX_SESSION_ID:
        return render.plain(404, _SESSION_GONE, request_id=call.answers)
    call.trail.waits(call.services.pipeline.traces)
    session = await sessions.find(session_id.decode("latin-1"), call.principal.key)
    return session or render.plain(404, _SESSION_GONE, request_id=call.answers)


async def _take(call: HttpCall, message: Notification | Response) -> None:
    """What a client says without waiting for an answer; it counts only in a session."""
    call.trail.note("response" if isinstance(message, Response) else message.method)
    if call.session is None:
        return
    runtime = call.services.pipeline.runtime
    if isinstance(message, Response):
        await runtime.questions.answer(call.session.id, message)
    else:
        await runtime.notified(message, call.session.id)


async def _initialize(call: HttpCall, request: Request, inbound: Legacy) -> Reply:
    answer = await call.serve(request, inbound.peek, inbound.stated or revisions.NEWEST_LEGACY)
    sessions, principal = call.services.pipeline.runtime.sessions, call.principal
    if not isinstance(call.outcome, Completed) or sessions is None or principal is None:
        return answer
    revision, capabilities = lifecycle.negotiated(request.params)
    session = await sessions.open(principal.key, revision, capabilities, marks_of(principal))
    return answer.with_headers([(b"mcp-session-id", session.id.encode("ascii"))])


async def _batch(call: HttpCall, inbound: LegacyBatch, revision: str | None) -> Reply:
    if revision != revisions.BATCHING:
        return render.rejected(errors.invalid_request("a batch is no message of this revision"))
    if call.principal is not None:
        # Its one stream holds what each item was told, lists among it: who comes back must hold what this token does.
        call.kept_for = StreamAccess(tuple(sorted(call.principal.scopes)))
    for item in inbound.items:
        await asyncio.sleep(0)  # as below: thirty-two long addresses are looked up here, too
        if isinstance(item, RpcError) or not isinstance(item.message, Request):
            continue
        if call.would_challenge(item.message, item.peek, revision):
            return await call.serve(item.message, item.peek, revision)
    answers: list[bytes] = []
    for item in inbound.items:
        await asyncio.sleep(0)  # others have their turn: where nothing waits, a batch would keep the loop to its end
        if isinstance(item, RpcError):
            answers.append(render.rejected(item).body)
            call.trail.note("", denied=True, reason=str(item.code))
        elif isinstance(item.message, Request):
            answer = await call.serve(item.message, item.peek, revision)
            if isinstance(call.outcome, Denied) and answer.status != 200:
                return answer  # the first one, by its handler: nothing of the batch has run that would run twice
            call.settled = True
            answers.append(answer.body)
        else:
            await _take(call, item.message)
    return render.batch([one for one in answers if one]) if answers else render.accepted()


def _last_event(call: HttpCall) -> sse.EventId | None:
    given = call.fields.values.get(LAST_EVENT)
    return None if given is None else sse.parse_id(given.decode("latin-1"))
