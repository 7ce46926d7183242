"""How long operations took, gathered as counts: the SDK's histogram would cost a quarter of a call for each value."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

from mcp_server.observe.telemetry import names

MAX_SERIES: Final = 2000
"""Beyond it all count as one: authors choose tools' names and error codes, and some make them up as they go."""


Operation = tuple[str, str, str, str, str, str, str]
"""Method, tool, prompt, revision, transport, error, code: what a duration is told apart by.

All are members of closed sets, none is a caller's own word. A plain tuple, for each call makes one.
"""
OTHERS: Final[Operation] = (names.OTHER, "", "", "", "", "", "")


def attributes(operation: Operation) -> dict[str, str]:
    """In the conventions' names."""
    method, tool, prompt, revision, transport, error, code = operation
    found = {
        names.METHOD: method,
        names.TOOL: tool,
        names.OPERATION: names.EXECUTE_TOOL if tool else "",
        names.PROMPT: prompt,
        names.PROTOCOL_VERSION: revision,
        names.TRANSPORT: transport,
        names.PROTOCOL: "http" if transport == "tcp" else "",
        names.ERROR_TYPE: error,
        names.STATUS_CODE: code,
    }
    return {name: value for name, value in found.items() if value}


class Durations:
    """The counts of one series: how many ended within each bound, and the seconds of all together."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts, self.total = [0] * (len(names.DURATION_BOUNDS) + 1), 0.0

    def count(self, seconds: float) -> None:
        """One more."""
        self.counts[bisect_left(names.DURATION_BOUNDS, seconds)] += 1
        self.total += seconds


class Operations:
    """All series of one worker."""

    def __init__(self) -> None:
        self.series: dict[Operation, Durations] = {}
        self.sessions: dict[tuple[str, str, str], Durations] = {}
        """By revision, transport and error: how long legacy sessions lasted."""

    def add(self, operation: Operation, total: float, counts: Sequence[int]) -> None:
        """Count operations that were gathered: the seconds of all together, and how many ended within each bound."""
        found = self.of(operation)
        found.counts = [before + more for before, more in zip(found.counts, counts, strict=True)]
        found.total += total

    def record(self, operation: Operation, seconds: float) -> None:
        """Count an operation."""
        self.of(operation).count(seconds)

    def session_over(self, revision: str, error: str, seconds: float, *, piped: bool) -> None:
        """Count a session that has ended."""
        self.sessions.setdefault((revision, "pipe" if piped else "tcp", error), Durations()).count(seconds)

    def of(self, operation: Operation) -> Durations:
        """The counts of a series."""
        found = self.series.get(operation)
        if found is None:
            known = operation if len(self.series) < MAX_SERIES else OTHERS
            found = self.series.setdefault(known, Durations())
        return found


def series(method: str, name: str, revision: str, error: str = "", code: str = "", *, piped: bool) -> Operation:
    """The series of a call; `name` is the registered one of what it asks for."""
    tool, prompt = name if method == "tools/call" else "", name if method == "prompts/get" else ""
    return method, tool, prompt, revision, "pipe" if piped else "tcp", error, code
