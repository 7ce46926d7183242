"""The state backend of several workers: Redis or Valkey, by redis-py. The only module of `store` that opens sockets."""

import asyncio
import contextlib
import hashlib
import math
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Final

import msgspec
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import OutOfMemoryError, ReadOnlyError, RedisError, ResponseError

from mcp_server.observe.log import logger
from mcp_server.observe.sampling import Outage
from mcp_server.observe.telemetry import names
from mcp_server.observe.tracing import Step
from mcp_server.store import limit_script, records, scripts
from mcp_server.store.backend import (
    EVERYBODY,
    GAP,
    OVERHEAD,
    Message,
    Receive,
    StoreFull,
    StoreUnavailable,
    room_for,
)
from mcp_server.store.jobs.queue import JobQueue
from mcp_server.store.jobs.streams import Place, RedisJobs

MAX_CONNECTIONS: Final = 32
"""Of one worker: commands at once beyond it wait their turn. A burst of calls must not be a burst of connections."""
STOP_TRIES: Final = 10
_ID_CHARACTERS: Final = 16
SLOT_S: Final = 60
"""What is kept is counted until the end of the slot of so many seconds in which it expires."""
OF_A_KIND: Final = 4
"""Event logs, and tasks, may have one part in so many of the memory that the store has: sessions have the rest."""
UNBOUNDED: Final = 1 << 62


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """How often a worker looks whether it still hears the store, and how long anything is waited for."""

    beat_s: float = 10.0
    pause_s: float = 0.1
    max_pause_s: float = 5.0
    connect_s: float = 2.0
    start_s: float = 1.0
    """How long a start waits to hear the others: it goes on without, for probes and modern calls need no store."""
    answer_s: float = 5.0
    """How long one command may take: a store that hangs is a store that is away."""
    retire_s: float = 15.0
    """How long connections of an address before are kept: a command is tried twice, each time with a connection."""


class RedisBackend:
    """The store and bus of all workers that name the same address and serve the same resource."""

    distributed = True

    def __init__(self, url: str, resource: str, timing: Timing | None = None, *, ca_file: str = "") -> None:
        """`ca_file` has certificate authorities that `rediss://` believes beside the system's."""
        self.worker = secrets.token_hex(_ID_CHARACTERS // 2)
        self._timing = timing or Timing()
        self._namespace = f"mcp:{hashlib.sha256(resource.encode()).hexdigest()[:12]}"
        self._jobs: list[asyncio.Task[None]] = []
        self._outage = Outage()
        self._retired: dict[Redis, asyncio.Task[None]] = {}
        """Clients of an address before, and who closes each once its commands are over."""
        self._receive: Receive = lambda _: None
        self._stopping = False
        self._of_a_kind = UNBOUNDED
        self._url, self._ca_file = url, ca_file
        self._use(self._client(url))

    def _client(self, url: str) -> Redis:
        """A client that connects when it is first used."""
        tls = {"ssl_ca_certs": self._ca_file} if self._ca_file and url.startswith("rediss:") else {}
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=MAX_CONNECTIONS,
            timeout=self._timing.answer_s,
            socket_connect_timeout=self._timing.connect_s,
            socket_timeout=self._timing.answer_s,
            health_check_interval=15,
            # At once and once: a pooled connection may have died with the last Redis. Every script bears a repetition.
            # Of a store that has become a replica the connection is let go: after a failover the address is another's.
            retry=Retry(NoBackoff(), 1, supported_errors=(ConnectionLost, ReadOnlyError)),
            **tls,
        )
        return Redis.from_pool(pool)

    def _use(self, client: Redis) -> None:
        self._redis = client
        self._keep = self._redis.register_script(scripts.KEEP)
        self._claim = self._redis.register_script(scripts.CLAIM)
        self._extend = self._redis.register_script(scripts.EXTEND)
        self._release = self._redis.register_script(scripts.RELEASE)
        self._remember = self._redis.register_script(scripts.REMEMBER)
        self._settle = self._redis.register_script(limit_script.script())
        place = Place(namespace=self._namespace, slot_s=SLOT_S, total=lambda value: room_for(value, self._of_a_kind))
        self.jobs: JobQueue = RedisJobs(self.worker, place, _Scripts(self._redis), self._config)

    async def get(self, key: str, renew_s: float | None = None) -> bytes | None:
        """The value, its life renewed when asked."""
        with _away("get"):
            try:
                if renew_s is None:
                    value: Any = await self._redis.get(self._key(key))
                else:
                    value = await self._redis.getex(self._key(key), px=_ms(renew_s))
            except ResponseError as error:
                if not str(error).startswith("WRONGTYPE"):
                    raise
                # Somebody else's list or hash: the store is there, and who waited for it to come back waited for ever.
                records.unreadable(key.partition(":")[0], "WRONGTYPE")
                return None
            return None if value is None else bytes(value)

    async def set(self, key: str, value: bytes, ttl_s: float, owner: str = "") -> None:
        """Keep a value."""
        with _away("set"):
            await self._redis.set(self._key(key), value, px=_ms(ttl_s))

    async def keep(self, key: str, value: bytes, ttl_s: float, *, owner: str, limit: int, charge: int) -> bool:
        """Keep a value within its owner's bound, which all workers count together; whether it is kept."""
        kind = key.partition(":")[0]
        keys = [self._ledger(kind, owner), self._ledger(kind, ""), self._key(key)]
        total = room_for(value, self._of_a_kind)
        with _away("keep"):
            kept = await self._keep(keys, [charge + OVERHEAD, limit, total, value, _ms(ttl_s), SLOT_S])
        if kept == scripts.FULL:
            raise StoreFull(f"too much is kept of every {kind}")
        return bool(kept)

    async def held(self, kind: str, owner: str) -> int:
        """The bytes of a kind that an owner keeps."""
        with _away("held"):
            async with self._redis.pipeline(transaction=False) as both:
                both.time()
                both.hgetall(self._ledger(kind, owner))
                (now, _), slots = await both.execute()
        return sum(_whole(size) for slot, size in slots.items() if _whole(slot) >= now // SLOT_S)

    async def delete(self, key: str) -> bool:
        """Forget a value; whether there was one."""
        with _away("delete"):
            return bool(await self._redis.delete(self._key(key)))

    async def claim(self, key: str, ttl_s: float, token: str = "", owner: str = "") -> bool:
        """One step, so that of two workers only one is first; its own claim whose answer was lost is found again."""
        with _away("claim"):
            token = token or secrets.token_hex(8)
            return bool(await self._claim([self._key(f"claim:{key}")], [token, _ms(ttl_s)]))

    async def extend(self, key: str, token: str, ttl_s: float) -> bool:
        """Whether the claim is still this token's; if so it is good for so much longer."""
        with _away("extend"):
            return bool(await self._extend([self._key(f"claim:{key}")], [token, _ms(ttl_s)]))

    async def release(self, key: str, token: str) -> None:
        """Let it be claimed again, unless the claim is another's by now."""
        with _away("release"):
            await self._release([self._key(f"claim:{key}")], [token])

    async def settle(
        self, entries: Sequence[Sequence[str | float]], asks: Sequence[tuple[int, Sequence[int]]], lease_ms: int
    ) -> tuple[int, list[int], list[int]]:
        """Settle what this worker has used of limits that all workers share, and ask for more: `limits/ledger.py`."""
        keys = [self._key(f"limit:{key}") for _, key, *_ in entries]
        told = [value for kind, _, *numbers in entries for value in (kind, *numbers)]
        asked = [f"{cost}:{' '.join(map(str, places))}" for cost, places in asks]
        with _away("settle"):
            keys.append(self._key("limiters"))
            workers, states, answers = await self._settle(keys, [self.worker, lease_ms, *told, *asked])
            return int(workers), list(states), list(answers)

    async def _config(self, name: str) -> str | None:
        """A parameter of the store's; None where an operator forbids to ask."""
        try:
            with _away("config"):
                found = await self._redis.config_get(name)
        except StoreUnavailable as error:
            if isinstance(error.__cause__, ResponseError):
                return None
            raise
        return found.get(name)

    async def remember(self, name: str, value: bytes, until: float, limit: int) -> None:
        """Add to a sorted set, by when each is over."""
        with _away("remember"):
            await self._remember([self._key(f"set:{name}")], [value, until, limit])

    async def remembered(self, name: str) -> list[bytes]:
        """The set's values whose time is not over, by this worker's clock."""
        with _away("remembered"):
            found: Any = await self._redis.zrange(self._key(f"set:{name}"), f"({time.time()}", "+inf", byscore=True)
        return [bytes(one) for one in found]

    async def publish(self, messages: Sequence[Message]) -> None:
        """One pipeline on one connection, which keeps the order; a worker's name that none can have is left out."""
        with _away("publish"):
            async with self._redis.pipeline(transaction=False) as pipe:
                for worker, data in messages:
                    if worker == EVERYBODY or (len(worker) == _ID_CHARACTERS and worker.isalnum()):
                        pipe.publish(self._channel(worker), self.worker.encode() + data)
                await pipe.execute()

    async def start(self, receive: Receive) -> None:
        """Hear the others, and look every few seconds how much the store may hold; both outlive a lost connection."""
        if self._stopping:  # started again, as tests do: what waits for a connection belongs to the loop it waited in
            self._use(self._client(self._url))
        self._stopping, self._receive = False, receive
        self._jobs = [asyncio.create_task(self._supervise(self._measuring))]
        await self._hear()

    async def _hear(self) -> None:
        """Begin to, and wait a while until it is so."""
        hearing = asyncio.Event()
        self._jobs.append(asyncio.create_task(self._supervise(lambda well: self._listen(self._receive, hearing, well))))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._timing.start_s):
                await hearing.wait()

    async def renew(self, url: str) -> None:
        """Use another address, or password, from now on; raises `StoreUnavailable` where it cannot be used.

        What runs ends on the connections that it has. Both are heard for a moment: nothing is said that nobody hears.
        """
        client = self._client(url)
        try:
            with _away("ping"):
                await client.ping()
        except BaseException:
            await client.aclose()
            raise
        old, self._url = self._redis, url
        self._use(client)
        try:
            await self._hear_anew()
        finally:
            self._retired[old] = asyncio.create_task(self._retire(old))

    async def _hear_anew(self) -> None:
        """By the client that is used now, before the hearing by another ends."""
        if not self._jobs:
            return
        *self._jobs, heard = self._jobs
        try:
            await self._hear()
        finally:  # where a renewal is cancelled, too: all would be heard twice from then on
            await _ended(heard)

    async def _retire(self, client: Redis) -> None:
        await asyncio.sleep(self._timing.retire_s)
        del self._retired[client]
        await client.aclose()

    async def stop(self) -> None:
        """Hear no more."""
        self._stopping = True
        await _ended(*self._jobs, *self._retired.values())
        self._jobs = []
        for client in self._retired:
            await client.aclose()
        self._retired.clear()
        with contextlib.suppress(StoreUnavailable, TimeoutError):
            async with asyncio.timeout(self._timing.connect_s):
                await self.jobs.leave()
        await self._redis.aclose()

    def _key(self, key: str) -> str:
        return f"{self._namespace}:{key}"

    def _ledger(self, kind: str, owner: str) -> str:
        return f"{self._namespace}:kept:{kind}:{owner}"

    def _channel(self, worker: str) -> str:
        return f"{self._namespace}:worker:{worker}" if worker else f"{self._namespace}:all"

    async def _supervise(self, job: Callable[[Callable[[], None]], Awaitable[None]]) -> None:
        """Begin a job anew whenever it fails, with exponential back-off that starts over once the job goes well."""
        try:
            await self._repeat(job)
        finally:
            self._outage.over(job)

    async def _repeat(self, job: Callable[[Callable[[], None]], Awaitable[None]]) -> None:
        pause = self._timing.pause_s

        def well() -> None:
            nonlocal pause
            pause = self._timing.pause_s
            self._outage.over(job)

        while not self._stopping:
            try:
                await job(well)
            except Exception as error:  # noqa: BLE001 - whatever it is, a worker that hears nothing is worse
                if self._outage.tells(job):
                    logger.error("the shared store is away", reason=str(error), again_in_s=pause)
            wait, pause = pause, min(pause * 2, self._timing.max_pause_s)
            await asyncio.sleep(wait)

    async def _measuring(self, well: Callable[[], None]) -> None:
        while True:
            with _away("info"):
                await self._measure()
            well()
            await asyncio.sleep(self._timing.beat_s)

    async def _measure(self) -> None:
        """Learn how much the store may hold, so that one kind does not take it all: without room no session opens."""
        with contextlib.suppress(ResponseError):  # an operator may forbid INFO
            memory = int((await self._redis.info("memory")).get("maxmemory", 0))
            self._of_a_kind = memory // OF_A_KIND or UNBOUNDED

    async def _listen(self, receive: Receive, hearing: asyncio.Event, well: Callable[[], None]) -> None:
        async with self._redis.pubsub() as pubsub:
            await pubsub.subscribe(self._channel(EVERYBODY), own := self._channel(self.worker))
            async for message in self._messages(pubsub):
                if message["type"] == "message":
                    if message["data"][:_ID_CHARACTERS] != self.worker.encode():
                        receive(message["data"][_ID_CHARACTERS:])
                elif message["type"] == "subscribe" and message["channel"] == own.encode():
                    # The client subscribes again by itself when its connection is lost, and says so only here. Pub/sub
                    # keeps nothing: what was said in between is gone, and at the first time what was said before.
                    well()
                    hearing.set()
                    receive(GAP)

    async def _messages(self, pubsub: PubSub) -> Any:
        """The messages; a connection that is silent is asked, one that does not answer is lost."""
        asked = False
        while True:
            message = await pubsub.get_message(timeout=self._timing.beat_s)
            if message is not None:
                asked = False
                yield message
            elif asked:
                raise ConnectionLost("nothing is heard any more")
            else:
                asked = True
                await pubsub.ping()


async def _ended(*jobs: asyncio.Task[None]) -> None:
    """Have jobs end: a cancellation that meets a timeout inside the client can be lost there."""
    for _ in range(STOP_TRIES):
        for job in jobs:
            job.cancel()
        if not jobs or not (await asyncio.wait(jobs, timeout=0.5))[1]:
            break


class _Scripts:
    """Runs Lua scripts by their digests; raises the port's errors."""

    def __init__(self, redis: Redis) -> None:
        self._redis, self._known = redis, dict[str, Any]()

    async def __call__(self, text: str, keys: Sequence[str], values: Sequence[Any]) -> Any:
        """What the script returns."""
        if (script := self._known.get(text)) is None:
            script = self._known[text] = self._redis.register_script(text)
        with _away("script"):
            return await script(keys, values)


@contextlib.contextmanager
def _away(operation: str) -> Iterator[None]:
    """Map the client's errors to the port's, and have the step in the trace of whoever waits for it."""
    try:
        with Step(f"redis {operation}", "client", lambda: {names.DB_SYSTEM: "redis", names.DB_OPERATION: operation}):
            yield
    except OutOfMemoryError as error:
        raise StoreFull(str(error)) from error
    except (RedisError, OSError) as error:
        raise StoreUnavailable(str(error)) from error


def _whole(text: bytes) -> int:
    """A number in the ledger; somebody else's bytes are 0."""
    return int(text) if text.removeprefix(b"-").isdigit() else 0


def _ms(seconds: float) -> int:
    return max(1, math.ceil(seconds * 1000))
