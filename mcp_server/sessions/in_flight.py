"""Calls of legacy sessions that may be cancelled while they run, from whichever worker hears of it."""

from collections.abc import Callable

from mcp_server.protocol.errors import RequestId
from mcp_server.store.events import CallCancelled, EventBus


class InFlightCalls:
    """The running calls of this worker, by session and request id."""

    def __init__(self, bus: EventBus) -> None:
        self._running: dict[tuple[str, RequestId], Callable[[], None]] = {}
        bus.subscribe(CallCancelled, self._cancel)

    def begun(self, session: str, request_id: RequestId, stop: Callable[[], None]) -> None:
        """A request is being answered; `stop` ends that."""
        self._running[session, request_id] = stop

    def ended(self, session: str, request_id: RequestId) -> None:
        """It has been answered."""
        self._running.pop((session, request_id), None)

    def _cancel(self, event: CallCancelled) -> None:
        stop = self._running.get((event.session, event.request_id))
        if stop is not None:
            stop()
