"""What vegeta saw, judged against due times: a call that the load began late has waited, whoever was slow."""

import base64
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

import msgspec

from tests.operate.figures import Histogram

NOTHING: Final = "no answer"


class Hit(msgspec.Struct, kw_only=True):
    """One line of `vegeta encode -to json`; the latency is in nanoseconds, since the request was begun."""

    seq: int
    code: int
    timestamp: datetime
    latency: int
    error: str = ""
    body: str | None = None

    @property
    def content(self) -> bytes:
        """The body of the answer."""
        return base64.b64decode(self.body or "")


class Round(msgspec.Struct, kw_only=True):
    """One round: seconds are against due times, errors by class."""

    asked: float
    achieved: float
    latencies: Histogram
    errors: Counter[str]
    count: int


def judged(hits: Sequence[Hit], rate: float, good: Callable[[int, bytes], str]) -> Round:
    """A round at so many calls a second; `good` says what is wrong with a status and a body, if anything.

    The n-th call was due n intervals after the beginning. vegeta does not write when that was: it is the latest moment
    before which no call was begun sooner than it was due.
    """
    starts = [one.timestamp.timestamp() for one in hits]
    beginning = min(start - one.seq / rate for start, one in zip(starts, hits, strict=True))
    latencies, errors = Histogram(), Counter[str]()
    for start, one in zip(starts, hits, strict=True):
        wrong = f"{NOTHING}: {_kind(one.error)}" if one.code == 0 else good(one.code, one.content)
        if wrong:
            errors[wrong] += 1
        else:
            latencies.add(start + one.latency / 1e9 - (beginning + one.seq / rate))
    return Round(asked=rate, achieved=pace(hits), latencies=latencies, errors=errors, count=len(hits))


def pace(hits: Sequence[Hit]) -> float:
    """Calls begun in a second."""
    starts = [one.timestamp.timestamp() for one in hits]
    took = max(starts) - min(starts)
    return (len(hits) - 1) / took if took else 0.0


def _kind(error: str) -> str:
    """Go's error without the addresses in it."""
    return error.rpartition(": ")[2] or error


def decoded(lines: bytes) -> list[Hit]:
    """Of the lines that vegeta writes."""
    decoder = msgspec.json.Decoder(Hit)
    return [decoder.decode(line) for line in lines.splitlines() if line]
