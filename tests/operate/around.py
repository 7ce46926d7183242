"""What stands around the servers: Redis with replicas and a sentinel, haproxy before both, the issuer."""

import asyncio
import contextlib
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
from redis.asyncio import Redis
from redis.exceptions import ConnectionError  # noqa: A004 - redis-py's own

from tests.kit.stack import free_port, until
from tests.operate.processes import Process, until_listens

TOKEN_S: Final = 60
SERVERS: Final = 3
STORES: Final = 3
"""A master and two replicas: one is left that follows at once when the other becomes the master."""
HAPROXY: Final = """
global
  maxconn 8000
defaults
  retries 0
  timeout connect 5s
  timeout client 300s
  timeout server 300s
  timeout check 2s
frontend calls
  mode http
  bind 127.0.0.1:{front}
  default_backend servers
backend servers
  mode http
  balance roundrobin
  option forwardfor
  http-reuse never
  {check}
  default-server inter 200 fall 1 rise 1
{servers}
listen store
  mode tcp
  bind 127.0.0.1:{store}
  option tcp-check
  tcp-check send info\\ replication\\r\\n
  tcp-check expect rstring role:master[[:space:]]+connected_slaves:[1-9]
  default-server inter 200 fall 3 rise 1 on-marked-down shutdown-sessions
{stores}
"""
READY: Final = "option httpchk GET /readyz\n  http-check send hdr Host localhost"
SENTINEL: Final = """
port {port}
bind 127.0.0.1
dir {folder}
sentinel monitor kept 127.0.0.1 {master} 1
sentinel down-after-milliseconds kept 10000
sentinel failover-timeout kept 5000
sentinel parallel-syncs kept 2
"""


class Ports(msgspec.Struct, frozen=True, kw_only=True):
    """Where everything listens; `front` is what clients know, `shared` one port for all servers without haproxy."""

    front: int
    shared: int
    issuer: int
    store: int
    stores: tuple[int, ...]
    sentinel: int
    servers: tuple[int, ...]

    @property
    def resource(self) -> str:
        """The public URL of the endpoint."""
        return f"http://localhost:{self.front}/mcp"

    @property
    def issuer_url(self) -> str:
        """The issuer's identifier."""
        return f"http://localhost:{self.issuer}/realms/mcp"


def ports() -> Ports:
    """Free ones."""
    front, shared, issuer, store, sentinel, *others = (free_port() for _ in range(5 + STORES + SERVERS))
    return Ports(
        front=front,
        shared=shared,
        issuer=issuer,
        store=store,
        stores=tuple(others[:STORES]),
        sentinel=sentinel,
        servers=tuple(others[STORES:]),
    )


class Around:
    """The surroundings of a run; faults reach into them."""

    def __init__(self, folder: Path, at: Ports, check: str = READY, token_s: int = TOKEN_S) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.at = folder, at
        self.sentinels = shutil.which("redis-sentinel") is not None
        say = {"front": at.front, "store": at.store, "check": check}
        servers = "".join(f"  server s{one} 127.0.0.1:{port} check\n" for one, port in enumerate(at.servers))
        stores = "".join(f"  server r{one} 127.0.0.1:{port} check\n" for one, port in enumerate(at.stores))
        (folder / "haproxy.cfg").write_text(HAPROXY.format(**say, servers=servers, stores=stores))
        haproxy = shutil.which("haproxy") or "/usr/sbin/haproxy"
        self.haproxy = Process((haproxy, "-q", "-db", "-f", str(folder / "haproxy.cfg")), {}, folder / "haproxy.log")
        asked = (at.issuer_url, at.resource, str(token_s))
        self.issuer = Process((sys.executable, "-m", "tests.operate.issuer", *asked), {}, folder / "issuer.log")
        self.stores = [self._redis(one) for one in range(STORES)]
        self.sentinel = Process(("redis-sentinel", str(folder / "sentinel.conf")), {}, folder / "sentinel.log")

    def _redis(self, number: int) -> Process:
        (self.folder / f"redis-{number}").mkdir(exist_ok=True)
        program = shutil.which("valkey-server") or "redis-server"
        where = (
            "--port",
            str(self.at.stores[number]),
            "--bind",
            "127.0.0.1",
            "--dir",
            str(self.folder / f"redis-{number}"),
        )
        kept = ("--save", "", "--appendonly", "yes", "--appendfsync", "everysec", "--repl-diskless-sync-delay", "0")
        # A master that was replaced must not go on taking writes that nobody will see again.
        alone = ("--min-replicas-to-write", "1")
        follows = ("--replicaof", f"127.0.0.1 {self.at.stores[0]}") if number else ()
        return Process((program, *where, *kept, *alone, *follows), {}, self.folder / f"redis-{number}.log")

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Around"]:
        """All of it, until the block ends."""
        watched = SENTINEL.format(port=self.at.sentinel, folder=self.folder, master=self.at.stores[0])
        (self.folder / "sentinel.conf").write_text(watched)
        all_of_it = [self.issuer, *self.stores, *([self.sentinel] if self.sentinels else []), self.haproxy]
        try:
            for one in all_of_it:
                await one.start()
            for port in (self.at.issuer, *self.at.stores, self.at.front):
                await until_listens(port)
            await self.follows()
            yield self
        finally:
            for one in reversed(all_of_it):
                await one.gone()

    @contextlib.asynccontextmanager
    async def _connected(self, port: int) -> AsyncIterator[Any]:
        async with Redis(host="127.0.0.1", port=port) as redis:
            yield redis

    def store(self, number: int) -> contextlib.AbstractAsyncContextManager[Any]:
        """A connection to one of them."""
        return self._connected(self.at.stores[number])

    async def _masters(self) -> dict[int, int]:
        """Who takes itself for the master, and how many follow it: one that was replaced is not told for seconds."""
        found = {}
        for number in range(STORES):
            with contextlib.suppress(ConnectionError):
                async with self.store(number) as redis:
                    about = await redis.info("replication")
                if about["role"] == "master":
                    found[number] = int(about["connected_slaves"])
        return found

    async def master(self) -> int:
        """Which of them is written to."""
        masters = await self._masters()
        return max(masters, key=lambda number: masters[number])

    async def follows(self) -> None:
        """Wait until haproxy knows who is the master, and that one has a replica and takes writes."""

        async def writes() -> bool:
            with contextlib.suppress(Exception):
                async with self._connected(self.at.store) as redis:
                    return bool(await redis.set("probe", "", px=1000))
            return False

        await until(writes)

    async def fail_over(self) -> str:
        """The master is stopped, a replica becomes the master, and the former one comes back; how it was done.

        Stopped by SIGTERM it waits for its replicas. Beside one that lives a promotion loses a second of what it
        confirms: it is told last that it is a master no more, and its other replica goes on confirming.
        """
        former = await self.master()
        await self.stores[former].stop()
        if self.sentinels:
            async with self._connected(self.at.sentinel) as sentinel:

                async def taken() -> bool:
                    with contextlib.suppress(Exception):  # it does not know the replica yet
                        return bool(await sentinel.execute_command("SENTINEL", "FAILOVER", "kept"))
                    return False

                await until(taken)
        else:
            successor = (former + 1) % STORES
            async with self.store(successor) as redis:
                await redis.replicaof("NO", "ONE")
            for other in set(range(STORES)) - {successor, former}:
                async with self.store(other) as redis:
                    await redis.replicaof("127.0.0.1", str(self.at.stores[successor]))

        async def moved() -> bool:
            return any(number != former for number in await self._masters())

        await until(moved)
        await self.follows()
        await self.stores[former].start()
        await until_listens(self.at.stores[former])
        return "a stop and SENTINEL FAILOVER" if self.sentinels else "a stop and REPLICAOF"

    async def restart_store(self, away_s: float) -> None:
        """The master goes, comes back after a while and reads what it has kept."""
        number = await self.master()
        await self.stores[number].stop()
        await asyncio.sleep(away_s)
        await self.stores[number].start()
        await until_listens(self.at.stores[number])
        await self.follows()

    async def forget(self) -> None:
        """Nothing that the last section has left in Redis is there for the next."""
        async with self.store(await self.master()) as redis:
            await redis.flushall()

    async def rotate_keys(self) -> None:
        """New keys sign; the old ones stay published."""
        async with httpx.AsyncClient(trust_env=False) as http:
            (await http.post(f"http://localhost:{self.at.issuer}/_dev/rotate-keys", json={})).raise_for_status()
