"""One call while it is tried: what its tries share, and what has come of its answer."""

import msgspec

from mcp_server.rest.model import Header, WireAnswer, WireRequest
from mcp_server.rest.wire import media


class Begun(msgspec.Struct, frozen=True):
    """An answer of which the head has come, and some of the body."""

    status: int
    headers: dict[str, str]
    body: bytearray

    def answer(self, *, most: int | None = None) -> WireAnswer:
        """It as a whole one; as a cut one where only so much of it is taken."""
        body = bytes(self.body if most is None else self.body[:most])
        return WireAnswer(status=self.status, headers=self.headers, body=body, cut=most is not None)


class Tries:
    """One call with what all its tries share."""

    __slots__ = ("begun", "ends_at", "failed", "headers", "in_flight", "max_bytes", "reached", "request")

    def __init__(self, request: WireRequest, headers: list[Header], max_bytes: int, ends_at: float) -> None:
        self.request, self.headers, self.max_bytes, self.ends_at = request, headers, max_bytes, ends_at
        self.failed = False
        self.in_flight = False
        """Whether something may have reached the API, at any try."""
        self.reached = False
        """Whether it was reached at this one, as far as is known."""
        self.begun: Begun | None = None

    def came(self) -> WireAnswer | None:
        """What has come of an answer that does not end, if its parts are of use without the rest."""
        if self.begun is None or not 200 <= self.begun.status < 300:
            return None
        answer = self.begun.answer(most=self.max_bytes)
        return answer if media.of_use(answer) else None
