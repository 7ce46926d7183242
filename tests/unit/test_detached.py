"""What goes on for a whole worker is of no request, whichever it began in."""

import asyncio
from collections.abc import Sequence

import pytest

from mcp_server.limits import allowances
from mcp_server.limits.allowances import Grant, Wanted
from mcp_server.limits.ledger import Batch, Settled
from mcp_server.limits.limiter import Limiter
from mcp_server.limits.rule import read
from mcp_server.observe import tracing
from mcp_server.observe.gathering import DelayedFlush
from mcp_server.observe.telemetry.operations import Operations
from mcp_server.observe.tracing import RequestContext
from mcp_server.sessions import durations
from mcp_server.sessions.durations import Opened, SessionDurations
from mcp_server.store.backend import Message, StoreUnavailable
from mcp_server.store.outbox import Outbox


class Requests:
    """Under which request each step of a work was done."""

    def __init__(self, steps: int) -> None:
        self.seen: list[str] = []
        self._steps, self.over = steps, asyncio.Event()

    def note(self) -> None:
        self.seen.append(tracing.here.get().request_id)
        if len(self.seen) >= self._steps:
            self.over.set()


class Away:
    """A ledger that does not answer."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests

    async def settle(self, _: Batch) -> Settled | None:
        self._requests.note()
        return None


async def test_limits_are_settled_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line that says that they are not shared stood under a call that was over, for as long as calls came."""
    for name in ("AWAY_S", "LEASE_S"):
        monkeypatch.setattr(allowances, name, 0.001)
    requests = Requests(3)
    limiter = Limiter(Away(requests))

    async def call() -> None:
        tracing.here.set(RequestContext("the first"))
        assert isinstance(limiter.begin([Wanted(read("5/day"), "server", "", "alice")]), Grant)

    await asyncio.create_task(call())
    await requests.over.wait()
    assert set(requests.seen) == {""}
    await limiter.stop()


async def test_messages_to_other_workers_are_sent_for_all() -> None:
    requests = Requests(1)

    async def publish(_: Sequence[Message]) -> None:
        requests.note()
        raise StoreUnavailable("away")

    async def call() -> None:
        tracing.here.set(RequestContext("the first"))
        outbox.send_soon(b"changed")

    outbox = Outbox(publish)
    await asyncio.create_task(call())
    await outbox.idle()
    assert requests.seen == [""]


async def test_sessions_are_looked_for_in_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durations, "LOOK_S", 0.001)
    requests, operations = Requests(2), Operations()

    async def there(_: str) -> bool:
        requests.note()
        return True

    async def initialize() -> None:
        tracing.here.set(RequestContext("the first"))
        sessions.opened("s", Opened("2025-11-25", 1.0))

    sessions = SessionDurations(there, 0.0)
    sessions.operations = lambda: operations
    await asyncio.create_task(initialize())
    await requests.over.wait()
    await sessions.stop(lost=False)
    assert set(requests.seen) == {""}


async def test_what_calls_add_to_is_handed_on_for_all() -> None:
    requests = Requests(1)

    async def call() -> None:
        tracing.here.set(RequestContext("the first"))
        flush.later(0.0)

    flush = DelayedFlush(requests.note)
    await asyncio.create_task(call())
    await requests.over.wait()
    assert requests.seen == [""]
