"""Request bodies: a deadline for each, and a concurrency limiter for the bytes of those that are in memory."""

import asyncio
from typing import Any, Final, Protocol

import msgspec

from mcp_server.engine.supervisor import CallSupervisor
from mcp_server.limits.concurrency import ConcurrencyLimiter
from mcp_server.web import render
from mcp_server.web.incoming.request_guard import HttpPolicy
from mcp_server.web.render import Reply

FREE: Final = 16 * 1024
"""A body that is whole at the first look and no longer than this is not counted: it is there before it can be refused,
and how many of them wait for an answer is bounded by the limit of calls."""
DRAINED: Final = 2
"""How many times the limit is read and thrown away, so that a client can read its refusal before we hang up."""
RETRY_S: Final = 5


class BodyRefused(msgspec.Struct, frozen=True):
    """Why a body is not taken: a word for the audit, empty where nobody is there any more, and the answer."""

    reason: str
    answer: Reply


class Body(msgspec.Struct, frozen=True):
    """A whole body, and how much of it was counted: that is given back when the call is over."""

    data: bytes
    counted: int = 0


TOO_LARGE: Final = BodyRefused("body too large", render.plain(413, "body too large"))
TOO_SLOW: Final = BodyRefused("body_too_slow", render.plain(408, "the body took too long", [render.CLOSE]))
STOPPING: Final = BodyRefused("stopping", render.unavailable(None, "stopping").with_headers([render.CLOSE]))
TOO_MUCH: Final = BodyRefused("too_many_bytes", render.overloaded(None, "too many bytes at once", RETRY_S))
GONE: Final = BodyRefused("", Reply(200, [], outcome="cancelled", sent=True))


class Sender(Protocol):
    """Whose body is read."""

    receive: Any
    """ASGI's callable for the next part."""
    caller: str
    """Whom its bytes are counted for."""

    def refused_unread(self) -> BodyRefused | None:
        """Why the rest of a body that is still on its way need not be kept."""


class Bodies:
    """Reads bodies. A slow one costs a stranger no memory of ours for long, many large ones cost a caller its share."""

    def __init__(self, policy: HttpPolicy, limiter: ConcurrencyLimiter) -> None:
        self._policy, self._limiter = policy, limiter

    async def read(self, sender: "Sender", watch: CallSupervisor, declared: int | None) -> Body | BodyRefused:
        """The body; its bytes count against its sender as they come, until `release`.

        `declared` is the content-length: with so many bytes in hand the last message, which only says that there is
        no more, is not waited for. It would cost as much as all the rest of a request.
        """
        reading: _Reading | None = None
        watch.begin(self._policy.body_timeout_s)
        try:
            message = await sender.receive()
            body: bytes = message.get("body", b"")
            if len(body) <= FREE and (len(body) == declared or _is_last(message)):
                return Body(body)
            reading = _Reading(self._limiter, sender.caller, self._policy.max_body)
            reading.refused = sender.refused_unread()
            while reading.take(message) and reading.total != declared and not _is_last(message):
                message = await sender.receive()
            return reading.done()
        except BaseException as error:
            if reading is not None:
                reading.give_back()
            if not isinstance(error, asyncio.CancelledError) or not watch.absorb_cancellation():
                raise
            return (reading and reading.refused) or (STOPPING if watch.reason == "stopping" else TOO_SLOW)
        finally:
            watch.stop()

    def release(self, who: str, body: Body) -> None:
        """A call is over: its body is in memory no more."""
        self._limiter.release(who, body.counted)


class _Reading:
    """A body of several parts. One that is refused is read on, so that its client can read why, and thrown away."""

    def __init__(self, limiter: ConcurrencyLimiter, who: str, max_body: int) -> None:
        self._limiter, self._who, self._max = limiter, who, max_body
        self._parts: list[bytes] = []
        self._counted = self.total = 0
        self.refused: BodyRefused | None = None

    def take(self, message: Any) -> bool:
        """Keep what came, or find why not; whether more may come."""
        if message["type"] != "http.request":
            self._refuse(GONE)
            return False
        part: bytes = message.get("body", b"")
        self.total += len(part)
        if self.total > self._max:
            self._refuse(TOO_LARGE)
        elif self.refused is None and not self._limiter.acquire(self._who, len(part)):
            self._refuse(TOO_MUCH)
        elif self.refused is None:
            self._counted += len(part)
            self._parts.append(part)
        return self.total <= DRAINED * self._max

    def done(self) -> Body | BodyRefused:
        return self.refused or Body(b"".join(self._parts), self._counted)

    def give_back(self) -> None:
        if self._counted:
            self._limiter.release(self._who, self._counted)
        self._counted, self._parts = 0, []

    def _refuse(self, why: BodyRefused) -> None:
        self.give_back()
        self.refused = why


def _is_last(message: Any) -> bool:
    """Whether no part follows; a client that has gone sends none either, but its body is not whole."""
    return message["type"] == "http.request" and not message.get("more_body")
