"""What may be tried again, and when: idempotent methods, statuses that pass, Retry-After (RFC 9110 §9.2.2, §10.2.3)."""

from collections.abc import Callable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

import msgspec

from mcp_server.rest.model import UpstreamFault, WireAnswer, WireRequest

IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "QUERY"})
"""What may be sent twice; QUERY is safe, as GET is (OAS 3.2)."""
IDEMPOTENCY_KEY: Final = "idempotency-key"
PASSING: Final = frozenset({429, 500, 502, 503, 504})


def repeats(method: str, status: int) -> bool:
    """Whether an answer is one that another try may better."""
    return status in PASSING and method in IDEMPOTENT


def repeats_after(method: str, fault: UpstreamFault) -> bool:
    """Whether a fault is: of any method where nothing was sent, of idempotent ones else."""
    return fault.kind in ("unreachable", "timeout", "reset") and (not fault.sent or method in IDEMPOTENT)


def keyed(request: WireRequest, make: Callable[[], str]) -> WireRequest:
    """A request with a key by which an API knows it again, where it is not idempotent by itself.

    One that the caller gave, as an argument of the operation, stands (draft-ietf-httpapi-idempotency-key-header).
    """
    if request.method.upper() in IDEMPOTENT or any(name.lower() == IDEMPOTENCY_KEY for name, _ in request.headers):
        return request
    return msgspec.structs.replace(request, headers=(*request.headers, (IDEMPOTENCY_KEY, make())))


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """The seconds that the API asks to wait, from a number or a date; None where it says nothing readable."""
    stated = headers.get("retry-after", "").strip()
    if stated.isascii() and stated.isdigit():
        return float(stated[:9])
    try:
        date = parsedate_to_datetime(stated)
        return max(0.0, (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now)
    except (ValueError, OverflowError):  # a year of twenty digits
        return None


def advice(method: str, *, sent: bool) -> str:
    """What a model may do after a fault."""
    if not sent:
        return "nothing was sent, so it is safe to try again"
    if method in IDEMPOTENT:
        return "it is safe to try again"
    return "it may have been carried out, so look before trying again"


class Passing(Exception):
    """An answer that is tried again, as the exception that retrying is told of; no part of it is in its text."""

    def __init__(self, answer: WireAnswer) -> None:
        super().__init__(f"status {answer.status}")
        self.answer = answer
