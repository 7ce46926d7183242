"""What a run has seen: each call against its due time, each stream, each task."""

from collections import Counter
from typing import Final, Literal

import msgspec

from tests.operate.figures import Histogram

Verdict = Literal["good", "not_now", "failed"]
LATE_S: Final = 20.0
"""An answer that comes so long after it was due, beside the seconds that its handler took, is no good one."""
KEPT_FAULTS: Final = 20


class Call(msgspec.Struct, kw_only=True):
    """One call: when it was due and over in seconds of the section, how long its handler should take, what came."""

    kind: str
    id: str
    due: float
    over: float
    seconds: float
    verdict: Verdict
    told: str = ""

    @property
    def beyond(self) -> float:
        """How long it took beside its handler, against its due time: a driver that lags counts as the server's."""
        return max(self.over - self.due - self.seconds, 0.0)


class Calls:
    """All calls of a section."""

    def __init__(self) -> None:
        self.all: list[Call] = []

    def add(self, call: Call) -> None:
        """One that is over."""
        if call.verdict == "good" and call.beyond > LATE_S:
            call.verdict, call.told = "failed", f"later than {LATE_S:.0f} s"
        self.all.append(call)

    def but(self, kind: str) -> "Calls":
        """Those of other kinds."""
        found = Calls()
        found.all = [one for one in self.all if one.kind != kind]
        return found

    def of(self, verdict: Verdict) -> list[Call]:
        """Those that came out so."""
        return [one for one in self.all if one.verdict == verdict]

    def latencies(self) -> Histogram:
        """Of the good ones."""
        found = Histogram()
        for one in self.of("good"):
            found.add(one.beyond)
        return found

    def faults(self) -> Counter[str]:
        """What was said of those that are not good, by kind."""
        return Counter(f"{one.kind}: {one.told}" for one in self.all if one.verdict != "good")


class Streams(msgspec.Struct):
    """What became of listening streams: `whole` ended with their last frame, `broken` without."""

    opened: int = 0
    whole: int = 0
    broken: int = 0
    not_now: int = 0
    faults: Counter[str] = msgspec.field(default_factory=Counter)


class TaskSeen(msgspec.Struct, kw_only=True):
    """A task as its owner saw it, look by look."""

    id: str
    call: str
    statuses: list[str] = msgspec.field(default_factory=list)
    ended: str = ""
    result: str = ""
    flips: list[str] = msgspec.field(default_factory=list)
    looks: int = 0
    lost: str = ""

    def look(self, status: str, result: str) -> None:
        """One more look; a terminal state must stay, with its result."""
        self.looks += 1
        if not self.statuses or self.statuses[-1] != status:
            self.statuses.append(status)
        if self.ended and (status, result) != (self.ended, self.result):
            self.flips.append(f"{self.ended} to {status}")
        if status in ("completed", "failed", "cancelled"):
            self.ended, self.result = status, result
