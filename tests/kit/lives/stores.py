"""What the workers share, in memory and in a real Redis, and how one of them is cut off from it."""

from typing import Any

from redis.exceptions import ConnectionError as ConnectionLost

from mcp_server.store.backend import GAP, Receive, StateBackend
from mcp_server.store.redis import RedisBackend, Timing
from tests.kit.backends import Clock, Linked, Workers, settle
from tests.kit.lives.workers import Worker, until

TIMING = Timing(pause_s=0.01, max_pause_s=0.02)


class Cut(RedisBackend):
    """A Redis that a worker can be cut off from."""

    gaps = 0

    def cut(self) -> None:
        async def refused(*_: Any, **__: Any) -> Any:
            raise ConnectionLost("cut")

        pool: Any = self._redis.connection_pool
        pool.get_connection = refused
        for connection in self._connections():
            connection._connect = refused
            if connection._writer is not None:
                connection._writer.transport.abort()

    def join(self) -> None:
        self._redis.connection_pool.__dict__.pop("get_connection", None)
        for connection in self._connections():
            connection.__dict__.pop("_connect", None)

    def _connections(self) -> list[Any]:
        pool: Any = self._redis.connection_pool
        return [*pool._available_connections, *pool._in_use_connections]

    async def start(self, receive: Receive) -> None:
        def heard(message: bytes) -> None:
            receive(message)
            self.gaps += message == GAP

        await super().start(heard)


class Near(Linked):
    """One worker's memory, which hears in that worker's own context."""

    def hear(self, data: bytes) -> None:
        worker = self.heard_by
        if worker is not None and self._receive is not None and not self.deaf:
            worker.context.run(self._receive, data)

    heard_by: "Worker | None" = None


class Store:
    """What the workers share, and how they are cut off from it."""

    def known(self, worker: Worker) -> None:
        """A worker that joined, by its backend."""

    def sever(self, worker: Worker) -> None:
        """It reaches the store no more, and hears nobody."""
        raise NotImplementedError

    def join(self) -> StateBackend:
        """One more worker."""
        raise NotImplementedError

    async def mend(self, worker: Worker) -> None:
        """It does again."""
        raise NotImplementedError

    async def run_out(self) -> None:
        """The leases of tasks run out, and the locks of the dead."""
        raise NotImplementedError

    async def left(self) -> list[str]:
        """What stands in the store: its keys, and the leases of tasks."""
        raise NotImplementedError

    async def close(self) -> None:
        """Nothing to close."""


class Memory(Store):
    """The workers of one memory, whose clock is turned."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.workers = Workers(self.clock)

    def join(self) -> StateBackend:
        made = Near(self.workers, f"w{len(self.workers.all)}")
        self.workers.all.append(made)
        return made

    def known(self, worker: Worker) -> None:
        assert isinstance(worker.store, Near)
        worker.store.heard_by = worker

    def sever(self, worker: Worker) -> None:
        assert isinstance(worker.store, Near)
        worker.store.away = worker.store.deaf = True

    async def mend(self, worker: Worker) -> None:
        assert isinstance(worker.store, Near)
        worker.store.away = False
        worker.store.hears_again()
        await settle()

    async def run_out(self) -> None:
        self.clock.now += 31

    async def left(self) -> list[str]:
        memory = self.workers.memory
        for room in memory._kinds.values():
            room.sweep()
        return [
            *(key for room in memory._kinds.values() for key in room._entries),
            *(f"leased {one}" for one in memory._leases),
        ]


class Real(Store):
    """A real Redis, where what is leased is made old by hand: its clock is its own."""

    def __init__(self, url: str, resource: str) -> None:
        self._url, self._resource = url, resource
        self._first = Cut(url, resource)

    def join(self) -> StateBackend:
        return Cut(self._url, self._resource, TIMING)

    def sever(self, worker: Worker) -> None:
        assert isinstance(worker.store, Cut)
        worker.store.cut()

    async def mend(self, worker: Worker) -> None:
        assert isinstance(worker.store, Cut)
        store, before = worker.store, worker.store.gaps
        store.join()
        await until(lambda: store.gaps > before)

    async def run_out(self) -> None:
        redis, stream = self._first._redis, self._first._key("tasks")
        for one in await redis.xpending_range(stream, "workers", "-", "+", 100) if await redis.exists(stream) else []:
            whose, entry = one["consumer"], one["message_id"]
            await redis.execute_command("XCLAIM", stream, "workers", whose, 0, entry, "IDLE", 60_000)  # type: ignore[no-untyped-call]
        for key in await self._keys("claim:lock:*"):
            await redis.delete(key)

    async def _keys(self, pattern: str) -> Any:
        return await self._first._redis.keys(self._first._key(pattern))

    async def left(self) -> list[str]:
        redis, stream = self._first._redis, self._first._key("tasks")
        found = [key.decode().removeprefix(self._first._key("")) for key in await self._keys("*")]
        leased: Any = await redis.xrange(stream)
        found += [f"leased {one}" for one in leased]
        return [one for one in found if one != "tasks"]

    async def close(self) -> None:
        await self._first._redis.aclose()
