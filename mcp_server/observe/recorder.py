"""The recorder: the one port to which a finished call is told, and through it the audit and the metrics."""

import functools
from collections.abc import Sequence
from typing import Protocol

from mcp_server.observe import metrics
from mcp_server.observe.audit import AuditLog, Begun, Decision
from mcp_server.observe.log import logger
from mcp_server.observe.telemetry.operations import Operation, series
from mcp_server.observe.tracing import Traces

OK = "ok"


class Recorder(Protocol):
    """Whoever wants to know of each call; a further observer (traces) is one more of these."""

    begun: Begun
    """Which calls are told of when they begin, too."""

    @property
    def refuses(self) -> bool:
        """Whether no handler may run now, for nothing could be written down of it."""

    def finished(
        self, decision: Decision, *, method: str, outcome: str, seconds: float, revision: str = "", piped: bool = False
    ) -> None:
        """A call is over: its line for the audit, how metrics count it, how long it took, and which way it came.

        `method`, `decision.tool` and `revision` label metrics: they are of closed sets, never a caller's own words.
        """

    async def written(self, decision: Decision) -> bool:
        """Write it down before anything else happens; false where that must be and cannot be done, within a second."""

    def noted(self, decision: Decision) -> None:
        """Something that is no call, and is in the audit alone: a task that ended, a stream that opened."""


class CallRecorder:
    """A line in the audit, and the counters of a call's method and tool."""

    def __init__(self, audit: AuditLog, traces: Traces | None = None) -> None:
        """`traces` knows where durations are counted by the conventions' names, if they are."""
        self._audit, self.begun, self._traces = audit, audit.begun, traces or Traces()
        self._meters: dict[tuple[str, str, str, str, bool], metrics.CallMeter] = {}
        self._uncounted = False

    @property
    def refuses(self) -> bool:
        """Whether the audit cannot be written, and the operator would rather not be without it."""
        return self._audit.refuses

    async def written(self, decision: Decision) -> bool:
        """Write it down, and wait until it is with the system, or until the operator would rather not be without it."""
        kept = self._audit.write(decision, at_once=True)  # the queue may have room again, and nothing of this one
        return (kept and await self._audit.written()) or not self._audit.must

    def finished(
        self, decision: Decision, *, method: str, outcome: str, seconds: float, revision: str = "", piped: bool = False
    ) -> None:
        """Write it down, then count it: a counter that fails (its shared folder is gone or full) costs no line."""
        self._audit.write(decision)
        key = (method, decision.tool, outcome, revision, piped)
        try:
            meter = self._meters.get(key)
            if meter is None:
                meter = self._meters[key] = self._meter(*key)
            meter.record(seconds)
            if outcome == "refused":
                metrics.refused(decision.reason)
        except Exception as error:  # noqa: BLE001 - nor does it cost the answer
            if not self._uncounted:
                logger.error("calls cannot be counted", reason=type(error).__name__)
            self._uncounted = True

    def _meter(self, method: str, tool: str, outcome: str, revision: str, piped: bool) -> metrics.CallMeter:
        also = None
        if outcome == OK:  # what failed is told apart by why
            also = functools.partial(self._gathered, series(method, tool, revision, piped=piped))
        return metrics.CallMeter(method, tool, outcome, also)

    def _gathered(self, operation: Operation, total: float, counts: Sequence[int]) -> None:
        if (operations := self._traces.operations) is not None:
            operations.add(operation, total, counts)

    def noted(self, decision: Decision) -> None:
        """Write it down."""
        self._audit.write(decision)
