"""The legacy eras over HTTP: sessions, batches, GET streams, DELETE (2025-11-25 transports; 2025-03-26 §Batching)."""

import asyncio
import functools
import secrets
import time
from typing import Final

from mcp_server.protocol import errors, headers, revisions, sse
from mcp_server.protocol.errors import RpcError
from mcp_server.protocol.inbound import Legacy, LegacyBatch
from mcp_server.protocol.jsonrpc import Notification, Request, Response
from mcp_server.protocol.types.notifications import SubscriptionFilter
from mcp_server.sessions.session import Session
from mcp_server.sessions.subscriptions import Subscription
from mcp_server.web import event_stream, render, request_guard
from mcp_server.web.exchange import FOREVER_S, HttpCall
from mcp_server.web.render import Reply

LAST_EVENT: Final = b"last-event-id"
MAX_SESSION_ID: Final = 256
_SESSION_GONE = "session not found"


async def serve(exchange: HttpCall, inbound: Legacy | LegacyBatch) -> Reply:
    """Answer one message or a batch, in the revision that its session or header names."""
    agreed = None
    if headers.SESSION in exchange.headers:
        found = await _session(exchange)
        if isinstance(found, Reply):
            return found
        exchange.session = found
        agreed = found.revision if found else None
    if isinstance(inbound, LegacyBatch):
        return await _batch(exchange, inbound, agreed or inbound.stated)
    if not isinstance(inbound.message, Request):
        await _take(exchange, inbound.message)
        return render.accepted()
    if inbound.message.method == "initialize":
        return await _initialize(exchange, inbound.message, inbound)
    revision = agreed or inbound.stated or revisions.BATCHING
    return await exchange.serve(inbound.message, inbound.peek, revision)


async def without_message(exchange: HttpCall, method: str) -> Reply:
    """GET, HEAD and DELETE."""
    return await (end_session(exchange) if method == "DELETE" else listen(exchange, opens=method == "GET"))


async def listen(exchange: HttpCall, *, opens: bool) -> Reply:
    """GET: the session's own stream, or the rest of one that broke off (`Last-Event-ID`); HEAD `opens` none."""
    if (refused := _other_era(exchange)) is not None:
        return refused
    session = await _session(exchange)
    if isinstance(session, Reply):
        return session
    dispatcher = exchange.parts.dispatcher
    if session is None or exchange.principal is None:
        return render.plain(405, "no stream here", [request_guard.WITHOUT_SESSION])
    if not opens:
        return Reply(200, event_stream.HEAD)
    token = secrets.token_hex(8)
    came_for = _last_event(exchange)
    resumed = came_for is not None and await exchange.parts.replays.knows(
        session.id, came_for, exchange.principal.scopes
    )
    readable = functools.partial(dispatcher.readable, principal=exchange.principal)
    listener = Subscription(
        exchange.principal.key,
        SubscriptionFilter() if resumed else _changes(readable(session.subscriptions)),
        session=session.id,
        token="" if resumed else token,
        readable=readable,
    )
    until_s = min(max(exchange.principal.expires_at - time.time(), 0), FOREVER_S)
    if resumed and came_for is not None:
        if not dispatcher.listeners.add(listener):
            return render.overloaded(None, "too many streams", 5)
        exchange.trail.note("GET")
        events = exchange.parts.replays.follow(session.id, came_for, listener)
        await event_stream.resume(
            exchange.wire(), exchange.receive, dispatcher.listeners, listener, events, until_s=until_s
        )
        return Reply(200, [], sent=True)
    if not dispatcher.listeners.add(listener):
        return render.overloaded(None, "too many streams", 5)
    try:
        await dispatcher.listeners.opened(listener)
        exchange.trail.note("GET")
    except BaseException:  # the store is away, or the client: the stream never opens, its slot must come back
        dispatcher.listeners.remove(listener)
        raise
    await event_stream.listen(
        exchange.wire(), exchange.receive, dispatcher.listeners, listener, frames=(b"", b""), until_s=until_s
    )
    return Reply(200, [], sent=True)


async def end_session(exchange: HttpCall) -> Reply:
    """DELETE: the principal's own session ends."""
    if (refused := _other_era(exchange)) is not None:
        return refused
    session_id = exchange.headers.get(headers.SESSION)
    sessions = exchange.parts.dispatcher.sessions
    if sessions is None or exchange.principal is None:
        return render.plain(405, "no sessions here", [request_guard.WITHOUT_SESSION])
    if session_id is None:
        return render.plain(400, "Mcp-Session-Id is missing")
    if await sessions.close(session_id.decode("latin-1"), exchange.principal.key):
        exchange.trail.note("DELETE")
        return Reply(204, [])
    return render.plain(404, _SESSION_GONE)


def _other_era(exchange: HttpCall) -> Reply | None:
    """GET and DELETE are of the legacy eras: a modern version header makes neither, an unknown one a bad request."""
    stated = exchange.headers.get(headers.VERSION)
    if stated is None:
        return None
    version = stated.strip(b" \t").decode("latin-1")
    if version in revisions.MODERN_SET:
        return render.plain(405, "no such method in this revision", [request_guard.WITHOUT_SESSION])
    if version not in revisions.LEGACY_SET:
        return render.rejected(errors.unsupported_version(version, list(revisions.MODERN)))
    return None


async def _session(exchange: HttpCall) -> Session | Reply | None:
    """The session named in the header; 404 for one that is not this caller's or not any more."""
    session_id = exchange.headers.get(headers.SESSION)
    sessions = exchange.parts.dispatcher.sessions
    if session_id is None or sessions is None:
        return None
    if exchange.principal is None or len(session_id) > MAX_SESSION_ID:
        return render.plain(404, _SESSION_GONE, request_id=exchange.answers)
    session = await sessions.find(session_id.decode("latin-1"), exchange.principal.key)
    return session or render.plain(404, _SESSION_GONE, request_id=exchange.answers)


async def _take(exchange: HttpCall, message: Notification | Response) -> None:
    """What a client says without waiting for an answer; it counts only in a session."""
    exchange.trail.note("response" if isinstance(message, Response) else message.method)
    if exchange.session is None:
        return
    dispatcher = exchange.parts.dispatcher
    if isinstance(message, Response):
        await dispatcher.questions.answer(exchange.session.id, message)
    else:
        await dispatcher.notified(message, exchange.session.id)


async def _initialize(exchange: HttpCall, request: Request, inbound: Legacy) -> Reply:
    answer = await exchange.serve(request, inbound.peek, inbound.stated or revisions.NEWEST_LEGACY)
    sessions, principal = exchange.parts.dispatcher.sessions, exchange.principal
    if answer.status != 200 or answer.outcome != "ok" or sessions is None or principal is None:
        return answer
    revision, capabilities = exchange.parts.dispatcher.negotiated(request)
    session = await sessions.open(principal.key, revision, capabilities)
    return answer.with_headers([(b"mcp-session-id", session.id.encode("ascii"))])


async def _batch(exchange: HttpCall, inbound: LegacyBatch, revision: str | None) -> Reply:
    if revision != revisions.BATCHING:
        return render.rejected(errors.invalid_request("a batch is no message of this revision"))
    for item in inbound.items:
        if isinstance(item, RpcError) or not isinstance(item.message, Request):
            continue
        if exchange.must_challenge(item.message, item.peek, revision):
            return await exchange.serve(item.message, item.peek, revision)
    answers: list[bytes] = []
    for item in inbound.items:
        await asyncio.sleep(0)  # others have their turn: where nothing waits, a batch would keep the loop to its end
        if isinstance(item, RpcError):
            answers.append(render.rejected(item).body)
            exchange.trail.note("", denied=True, reason=str(item.code))
        elif isinstance(item.message, Request):
            answer = await exchange.serve(item.message, item.peek, revision)
            answers.append(answer.body)
        else:
            await _take(exchange, item.message)
    return render.batch([one for one in answers if one]) if answers else render.accepted()


def _changes(resources: list[str]) -> SubscriptionFilter:
    """A legacy session hears of every list, and of the resources it subscribed to and may read."""
    return SubscriptionFilter(
        tools_list_changed=True,
        prompts_list_changed=True,
        resources_list_changed=True,
        resource_subscriptions=resources,
    )


def _last_event(exchange: HttpCall) -> sse.EventId | None:
    given = exchange.headers.get(LAST_EVENT)
    return None if given is None else sse.parse_id(given.decode("latin-1"))
