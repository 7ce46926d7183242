"""The legacy eras over HTTP: sessions, batches, DELETE (2025-11-25 transports; 2025-03-26 §Batching)."""

import time

from mcp_server.protocol import faults, headers, revisions
from mcp_server.protocol.faults import Rejection
from mcp_server.protocol.inbound import Legacy, LegacyBatch
from mcp_server.protocol.jsonrpc import Request
from mcp_server.web import reply
from mcp_server.web.exchange import Exchange
from mcp_server.web.reply import Reply

_SESSION_GONE = "session not found"


async def serve(exchange: Exchange, inbound: Legacy | LegacyBatch) -> Reply:
    """Answer one message or a batch, in the revision that its session or header names."""
    session = _session_revision(exchange)
    if isinstance(session, Reply):
        return session
    if isinstance(inbound, LegacyBatch):
        return await _batch(exchange, inbound, session or inbound.stated)
    if not isinstance(inbound.message, Request):
        return reply.accepted()
    if inbound.message.method == "initialize":
        return await _initialize(exchange, inbound.message, inbound)
    revision = session or inbound.stated or revisions.BATCHING
    return await exchange.serve(inbound.message, inbound.peek, revision)


def end_session(exchange: Exchange) -> Reply:
    """DELETE: the principal's own session ends."""
    session_id = exchange.headers.get(headers.SESSION)
    sessions = exchange.parts.sessions
    if sessions is None or exchange.principal is None:
        return reply.plain(405, "no sessions here", [(b"allow", b"POST, OPTIONS")])
    if session_id is None:
        return reply.plain(400, "Mcp-Session-Id is missing")
    if sessions.close(session_id.decode("latin-1"), exchange.principal.key):
        return Reply(204, [])
    return reply.plain(404, _SESSION_GONE)


def _session_revision(exchange: Exchange) -> str | Reply | None:
    """What the session named in the header agreed on; 404 for one that is not this caller's or not any more."""
    session_id = exchange.headers.get(headers.SESSION)
    sessions = exchange.parts.sessions
    if session_id is None or sessions is None:
        return None
    if exchange.principal is None or len(session_id) > 256:
        return reply.plain(404, _SESSION_GONE)
    key = exchange.principal.key
    session = sessions.find(session_id.decode("latin-1"), key, time.time())
    return reply.plain(404, _SESSION_GONE) if session is None else session.revision


async def _initialize(exchange: Exchange, request: Request, inbound: Legacy) -> Reply:
    answer = await exchange.serve(request, inbound.peek, inbound.stated or revisions.NEWEST_LEGACY)
    sessions, principal = exchange.parts.sessions, exchange.principal
    if answer.status != 200 or answer.outcome != "ok" or sessions is None or principal is None:
        return answer
    revision = exchange.parts.dispatcher.negotiated(request)
    session = sessions.open(principal.key, revision, time.time())
    return answer.with_headers([(b"mcp-session-id", session.id.encode("ascii"))])


async def _batch(exchange: Exchange, inbound: LegacyBatch, revision: str | None) -> Reply:
    if revision != revisions.BATCHING:
        return reply.rejected(faults.invalid_request("a batch is no message of this revision"))
    for item in inbound.items:
        if isinstance(item, Rejection) or not isinstance(item.message, Request):
            continue
        if exchange.must_challenge(item.message, item.peek, revision):
            return await exchange.serve(item.message, item.peek, revision)
    answers: list[bytes] = []
    for item in inbound.items:
        if isinstance(item, Rejection):
            answers.append(reply.rejected(item).body)
        elif isinstance(item.message, Request):
            answer = await exchange.serve(item.message, item.peek, revision)
            answers.append(answer.body)
    return reply.batch(answers) if answers else reply.accepted()
