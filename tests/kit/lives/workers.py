"""Workers of one server in one process, each a whole endpoint over a store they share: killed, told to stop, replaced.

A worker's tasks are known by their context, so that its death ends them as the end of its process would: from that
moment on none reaches the store.
"""

import asyncio
import contextlib
import contextvars
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec

from mcp_server import McpPlugin, Principal, settings
from mcp_server.auth.tokens.bearer import NoCredentials
from mcp_server.store.backend import StateBackend
from mcp_server.store.redis import RedisBackend
from tests.kit import backends
from tests.kit.backends import settle
from tests.kit.lives.handlers import Doors, server
from tests.kit.principals import principal

PATIENCE_S = 30.0
WORKER: contextvars.ContextVar["Worker | None"] = contextvars.ContextVar("worker", default=None)


class Worker(McpPlugin):
    """One process, as far as it can be seen from outside."""

    def __init__(self, doors: Doors, store: StateBackend, folder: Path, sever: Callable[["Worker"], None]) -> None:
        """`sever` cuts it off from the store, at once."""
        self.store, self.alive, self.sever = store, True, sever
        self.context = contextvars.copy_context()
        self.context.run(WORKER.set, self)
        self.begun: set[asyncio.Task[Any]] = set()
        given = {
            "MCP_ISSUER": "http://localhost:9/realms/mcp",
            "MCP_STATE_KEYS": "k" * 43,
            "MCP_AUDIT_FILE": str(folder / "audit.jsonl"),
            "MCP_MAX_CALLS_PER_SECOND_PER_PRINCIPAL": "100000",
        }
        self.mcp = server(doors)
        super().__init__(self.mcp, settings.load(given))

    def _backend(self) -> StateBackend:
        return self.store

    def run(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Something that this worker does."""
        return asyncio.get_running_loop().create_task(work, context=self.context.copy())

    async def start(self) -> None:
        self._audit.open()
        await self.run(self.runtime.start())

    async def stop(self) -> None:
        """As a worker ends that was told to."""

        async def stopping() -> None:
            await self.runtime.tasks.hand_back()
            self.drain._calls.end_all()
            await settle()
            await self._services.pipeline.stop()
            await self.runtime.stop()

        await self.run(stopping())
        await self._gone()

    async def die(self) -> None:
        """As by SIGKILL: nothing that it does from here on is seen by anybody."""
        self.sever(self)
        await self._gone()

    async def _gone(self) -> None:
        self.alive = False
        self.mcp.watchers.clear()
        while left := [one for one in self.begun if not one.done() and one is not asyncio.current_task()]:
            for one in left:
                one.cancel()
            await asyncio.wait(left, timeout=1)
        if isinstance(self.store, RedisBackend):  # as the kernel does
            await self.store._redis.connection_pool.disconnect()
        self._audit.close()


def count_tasks(loop: asyncio.AbstractEventLoop, work: Any, **how: Any) -> Any:
    """A loop's task factory: whose worker's each task is."""
    task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, **how)
    context = how.get("context") or contextvars.copy_context()
    worker = context.get(WORKER)
    if worker is not None:
        worker.begun.add(task)
        task.add_done_callback(worker.begun.discard)
    return task


def who(name: str) -> Principal:
    found = principal(scopes=("mcp:read",), subject=name)
    return msgspec.structs.replace(found, expires_at=time.time() + 86_400)


async def identify(scope: Any, headers: dict[bytes, bytes], *_: Any) -> Any:
    """In place of `authn.identify`: the caller is who the header says."""
    name = headers.get(b"authorization", b"").decode().removeprefix("Bearer ")
    return who(name) if name else NoCredentials()


async def until(so: Callable[[], Any]) -> None:
    """Wait for what workers do by themselves, and whatever more they would do then; fails where it never comes."""

    async def is_so() -> bool:
        return bool(so())

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_S):
            await backends.until(is_so)
    await settle(20)
    assert so()
