"""A value → ASGI messages; the only place that picks a status and writes headers."""

from collections.abc import Sequence
from typing import Final

import msgspec

from mcp_server.auth.challenge import Challenger
from mcp_server.auth.refusals import AccessDenied
from mcp_server.protocol import jsonrpc, sse
from mcp_server.protocol.errors import AUTHORIZATION_ERROR, TRANSPORT_ERROR, RequestId, RpcError

Headers = list[tuple[bytes, bytes]]
JSON: Final = (b"content-type", b"application/json")
EVENT_STREAM: Final = (b"content-type", b"text/event-stream")
NO_STORE: Final = (b"cache-control", b"no-store")
CLOSE: Final = (b"connection", b"close")
RESULT: Final[Headers] = [JSON, NO_STORE]
"""The headers of a result."""
AWAY_RETRY_S: Final = 2
_RETRY_CODES: Final = frozenset({429, 503})


class Reply(msgspec.Struct, frozen=True):
    """A whole answer; `outcome` is for metrics, `reason` for the audit.

    `sent` means that a stream has carried it already.
    """

    status: int
    headers: Headers
    body: bytes = b""
    outcome: str = "ok"
    reason: str = ""
    sent: bool = False

    def with_headers(self, more: Sequence[tuple[bytes, bytes]]) -> "Reply":
        """The same answer with further headers."""
        return msgspec.structs.replace(self, headers=[*self.headers, *more]) if more else self


def as_stream(reply: Reply) -> Reply:
    """The same message as the only event of a stream, for a client that would rather have one."""
    if reply.sent or reply.status != 200 or JSON not in reply.headers:
        return reply
    headers = [EVENT_STREAM if header == JSON else header for header in reply.headers]
    return msgspec.structs.replace(reply, headers=headers, body=sse.event(reply.body))


def messages(reply: Reply, *, head: bool = False) -> tuple[dict[str, object], dict[str, object]]:
    """The two ASGI messages of an answer; HEAD gets the same without the body (RFC 9110 §9.3.2)."""
    headers = reply.headers if head else [*reply.headers, (b"content-length", b"%d" % len(reply.body))]
    start = {"type": "http.response.start", "status": reply.status, "headers": headers}
    return start, {"type": "http.response.body", "body": b"" if head else reply.body}


def rejected(rejection: RpcError) -> Reply:
    """A JSON-RPC error with the status that belongs to it."""
    outcome = "failed" if rejection.status >= 500 else "rejected"
    return Reply(rejection.status, [JSON, NO_STORE], jsonrpc.failure(rejection), outcome, reason=str(rejection.code))


def refused(refusal: AccessDenied, challenger: Challenger, request_id: RequestId | None = None) -> Reply:
    """A caller refused: status, challenge, and a body that says no more than the RFC's code does."""
    headers: Headers = [JSON, NO_STORE]
    challenge = challenger.header(refusal)
    if challenge is not None:
        headers.append((b"www-authenticate", challenge))
    if refusal.reason.status in _RETRY_CODES:
        headers.append((b"retry-after", b"%d" % max(1, refusal.retry_after_s)))
    error = RpcError(code=AUTHORIZATION_ERROR, message=refusal.reason.public, request_id=request_id)
    return Reply(refusal.reason.status, headers, jsonrpc.failure(error), "refused", reason=refusal.reason.slug)


def plain(
    status: int, text: str, more: Sequence[tuple[bytes, bytes]] = (), *, request_id: RequestId | None = None
) -> Reply:
    """A refusal of the transport, mostly before a JSON-RPC message was read."""
    body = jsonrpc.failure(RpcError(code=TRANSPORT_ERROR, message=text, request_id=request_id))
    return Reply(status, [JSON, NO_STORE, *more], body, "rejected", reason=text)


def overloaded(request_id: RequestId | None, text: str, retry_after_s: int) -> Reply:
    """A caller who has too much going on."""
    error = RpcError(code=TRANSPORT_ERROR, message=text, data={"retryAfter": retry_after_s}, request_id=request_id)
    body = jsonrpc.failure(error)
    return Reply(429, [JSON, NO_STORE, (b"retry-after", b"%d" % retry_after_s)], body, "rejected", reason=text)


def unavailable(request_id: RequestId | None, reason: str = "store_away") -> Reply:
    """What this call needs is away; it can be tried again."""
    again, text = {"retryAfter": AWAY_RETRY_S}, "temporarily unavailable"
    body = jsonrpc.failure(RpcError(code=TRANSPORT_ERROR, message=text, data=again, request_id=request_id))
    return Reply(503, [JSON, NO_STORE, (b"retry-after", b"%d" % AWAY_RETRY_S)], body, "failed", reason=reason)


def silent() -> Reply:
    """The end of a call whose client does not want an answer: a stream without a message."""
    return Reply(200, [EVENT_STREAM, NO_STORE], outcome="cancelled")


def accepted() -> Reply:
    """A notification or response taken: 202 without a body."""
    return Reply(202, [NO_STORE])


def batch(answers: Sequence[bytes]) -> Reply:
    """The answers of a 2025-03-26 batch."""
    return Reply(200, [JSON, NO_STORE], b"[" + b",".join(answers) + b"]")
