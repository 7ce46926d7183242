"""Tasks without an engine: handlers with gates, who runs them again, and workers of one store."""

import asyncio
from typing import Any

from msgspec import Raw

from mcp_server.authoring.interaction import Question
from mcp_server.protocol.errors import RpcError
from mcp_server.protocol.types.content import TextContent
from mcp_server.protocol.types.inputs import InputRequest
from mcp_server.protocol.types.tools import CallToolResult
from mcp_server.sessions.tasks import NewTask, TaskInteraction, Tasks
from mcp_server.sessions.tasks.leases import LeaseTimes
from mcp_server.sessions.tasks.record import TaskRecord
from mcp_server.sessions.tasks.run import Run
from mcp_server.store.events import EventBus
from tests.kit.backends import Clock, Linked, Workers, settle

ALICE = "https://issuer.example\nuser\nalice"
BOB = "https://issuer.example\nuser\nbob"
NEEDED = frozenset({"mcp:read"})
QUESTION = Question(
    request=InputRequest(method="elicitation/create", params={"message": "Sure?"}), needs={}, read=lambda raw: raw
)
SOON = LeaseTimes(lease_s=30, retry_s=0)
"""Nothing is waited for but turns of the loop."""


class Work:
    """A handler that waits for its gate, and asks first where it is told to; `attempts` are its runs."""

    def __init__(self, *, asks: bool = False, size: int = 10) -> None:
        self.gate, self.asks, self.size = asyncio.Event(), asks, size
        self.cancelled = False
        self.attempts: list[int] = []

    async def __call__(self, running: TaskInteraction) -> CallToolResult:
        self.attempts.append(running.record.attempt)
        try:
            if self.asks:
                await running.ask({"q": QUESTION})
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return CallToolResult(content=[TextContent(text="x" * self.size)])


class Handlers:
    """Who can run again what began elsewhere: a job is the place of its handler in a list that all workers share."""

    def __init__(self) -> None:
        self.kept: list[Run] = []
        self.retry: bool | None = True
        self.refuses: RpcError | None = None
        self.told: list[tuple[str, str]] = []

    def keep(self, run: Run) -> bytes:
        self.kept.append(run)
        return b"%d" % (len(self.kept) - 1)

    def retries(self, tool: str) -> bool | None:
        return self.retry

    def resume(self, record: TaskRecord, job: bytes) -> Run | RpcError:
        return self.refuses or self.kept[int(job)]

    def ended(self, record: TaskRecord, outcome: str) -> None:
        self.told.append((record.id, outcome))

    def of(self, bus: EventBus, *args: Any, **how: Any) -> Tasks:
        """The tasks of a worker whose handlers these are."""
        tasks = Tasks(bus, *args, **{"times": SOON, **how})
        tasks.resumer = self
        return tasks

    def begun(self, run: Run, who: str = ALICE, **more: Any) -> NewTask:
        more = {"retry": self.retry is True, **more}
        return NewTask(principal_key=who, tool="tool", needed=NEEDED, run=run, job=lambda _: self.keep(run), **more)


def begun(run: Run, who: str = ALICE, **more: Any) -> NewTask:
    """A call that becomes a task which nobody else runs."""
    return Handlers().begun(run, who, **more)


class Pair:
    """Two workers of one store, whose clock is turned by hand."""

    def __init__(self, max_running: int = 100, **how: Any) -> None:
        self.clock, self.handlers = Clock(), Handlers()
        self.workers = Workers(self.clock)
        self.backends: list[Linked] = [self.workers.join(), self.workers.join()]
        self.buses = [EventBus(one) for one in self.backends]
        self.here, self.there = (self.handlers.of(bus, 3600, max_running=max_running, **how) for bus in self.buses)

    async def begin(self) -> "Pair":
        for bus in self.buses:
            await bus.backend.start(bus.receive)
        return self

    async def start(self, work: Run, tasks: Tasks | None = None, **more: Any) -> str:
        """A task whose handler has begun."""
        task_id = (await (tasks or self.here).start(self.handlers.begun(work, **more))).task_id
        await settle()
        return task_id

    async def shows(self, task_id: str) -> TaskRecord:
        record = await self.there.find(task_id, ALICE)
        assert record is not None
        return record

    async def takes_over(self) -> None:
        """The first worker is silent for longer than a lease, and the second looks."""
        self.clock.now += SOON.lease_s
        await self.there.leases.claim()

    async def stop(self) -> None:
        for backend in self.backends:
            backend.away = False
        for tasks in (self.here, self.there):
            await tasks.stop()


ANSWER = {"q": Raw(b"{}")}
