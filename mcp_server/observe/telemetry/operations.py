"""How long operations took, gathered as counts: the SDK's histogram would cost a quarter of a call for each value."""

from bisect import bisect_left
from typing import Final, NamedTuple

from mcp_server.observe.telemetry import names

MAX_SERIES: Final = 2000
"""Beyond it all count as one: authors choose tools' names and error codes, and some make them up as they go."""


class Operation(NamedTuple):
    """What a duration is told apart by: members of closed sets, none of them a caller's own word."""

    method: str
    tool: str = ""
    prompt: str = ""
    revision: str = ""
    transport: str = "tcp"
    error: str = ""
    code: str = ""

    def attributes(self) -> dict[str, str]:
        """In the conventions' names."""
        found = {
            names.METHOD: self.method,
            names.TOOL: self.tool,
            names.OPERATION: names.EXECUTE_TOOL if self.tool else "",
            names.PROMPT: self.prompt,
            names.PROTOCOL_VERSION: self.revision,
            names.TRANSPORT: self.transport,
            names.PROTOCOL: "http" if self.transport == "tcp" else "",
            names.ERROR_TYPE: self.error,
            names.STATUS_CODE: self.code,
        }
        return {name: value for name, value in found.items() if value}


OTHERS: Final = Operation(names.OTHER)


class Durations:
    """The counts of one series: how many ended within each bound, and the seconds of all together."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts, self.total = [0] * (len(names.DURATION_BOUNDS) + 1), 0.0

    def add(self, seconds: float) -> None:
        """One more."""
        self.counts[bisect_left(names.DURATION_BOUNDS, seconds)] += 1
        self.total += seconds


class Operations:
    """All series of one worker."""

    def __init__(self) -> None:
        self.series: dict[Operation, Durations] = {}

    def record(self, operation: Operation, seconds: float) -> None:
        """Count an operation."""
        found = self.series.get(operation)
        if found is None:
            if len(self.series) >= MAX_SERIES:
                operation = OTHERS
            found = self.series.setdefault(operation, Durations())
        found.add(seconds)
