"""What workers share past one process: Litestar's Redis store and channels backend, on Redis or Valkey."""

import asyncio
import contextlib
import hashlib
import secrets
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

from litestar.channels.backends.redis import RedisChannelsPubSubBackend
from litestar.stores.redis import RedisStore
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError, RedisError, ResponseError

from mcp_server.observe.log import logger
from mcp_server.store.backend import OVERHEAD, Receive, StoreFull, StoreUnavailable, room_for

BEAT_S: Final = 10.0
ALIVE_S: Final = 30.0
"""How long a worker that fell silent is held to be alive."""
MAX_PAUSE_S: Final = 5.0
CONNECT_S: Final = 2.0
ANSWER_S: Final = 5.0
"""How long one command may take: a store that hangs is a store that is away."""
STOP_TRIES: Final = 10
_ID_CHARACTERS: Final = 16
SLOT_S: Final = 60
"""What is kept is counted until the end of the slot of so many seconds in which it expires."""
OF_A_KIND: Final = 4
"""Replays, and tasks, may have one part in so many of the memory that the store has: sessions have the rest."""
UNBOUNDED: Final = 1 << 62
_KEEP: Final = """
local charge, life, slot = tonumber(ARGV[1]), tonumber(ARGV[5]), tonumber(ARGV[6])
local now = tonumber(redis.call('TIME')[1])
local first, last = math.floor(now / slot), math.floor((now + life) / slot)
local function kept(ledger)
  local sum, fields = 0, redis.call('HGETALL', ledger)
  for i = 1, #fields, 2 do
    if tonumber(fields[i]) < first then redis.call('HDEL', ledger, fields[i])
    else sum = sum + tonumber(fields[i + 1]) end
  end
  return sum
end
if kept(KEYS[1]) + charge > tonumber(ARGV[2]) then return 0 end
if kept(KEYS[2]) + charge > tonumber(ARGV[3]) then return -1 end
for i = 1, 2 do
  redis.call('HINCRBY', KEYS[i], string.format('%d', last), charge)
  if redis.call('TTL', KEYS[i]) < life + slot then redis.call('EXPIRE', KEYS[i], life + slot) end
end
redis.call('SET', KEYS[3], ARGV[4], 'EX', ARGV[5])
return 1
"""
"""Count and keep in one step, so that workers at once cannot pass a bound, and one that dies leaves nothing counted.

A ledger is a hash of slots of expiry and the bytes that expire in each; slots that are over count no more.
Time is Redis' own: a worker whose clock is ahead would forget what the others count.
"""

_RELEASE: Final = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end"
"""In one step: a claim that ran out in between may be another worker's by now."""


class RedisBackend:
    """The store and bus of all workers that name the same address and serve the same resource."""

    distributed = True

    def __init__(self, url: str, resource: str) -> None:
        self.worker = secrets.token_hex(_ID_CHARACTERS // 2)
        self._redis: Redis = Redis.from_url(
            url, socket_connect_timeout=CONNECT_S, socket_timeout=ANSWER_S, health_check_interval=15
        )
        self._namespace = f"mcp:{hashlib.sha256(resource.encode()).hexdigest()[:12]}"
        self._everybody = f"{self._namespace}:all"
        self._store = RedisStore(self._redis, namespace=self._namespace)
        self._bus = RedisChannelsPubSubBackend(redis=self._redis)
        self._own = f"{self._namespace}:worker:{self.worker}"
        self._jobs: list[asyncio.Task[None]] = []
        self._stopping = False
        self._script = self._redis.register_script(_KEEP)
        self._release = self._redis.register_script(_RELEASE)
        self._of_a_kind = UNBOUNDED

    async def get(self, key: str, renew_s: float | None = None) -> bytes | None:
        """The value, its life renewed when asked."""
        with _away():
            return await self._store.get(key, None if renew_s is None else int(renew_s))

    async def set(self, key: str, value: bytes, ttl_s: float, owner: str = "") -> None:
        """Keep a value."""
        with _away():
            await self._store.set(key, value, max(1, int(ttl_s)))

    async def keep(self, key: str, value: bytes, ttl_s: float, *, owner: str, limit: int, charge: int) -> bool:
        """Keep a value within its owner's bound, which all workers count together; whether it is kept."""
        kind, life = key.partition(":")[0], max(1, int(ttl_s))
        keys = [self._ledger(kind, owner), self._ledger(kind, ""), f"{self._namespace}:{key}"]
        total = room_for(value, self._of_a_kind)
        with _away():
            kept = await self._script(keys, [charge + OVERHEAD, limit, total, value, life, SLOT_S])
        if kept < 0:
            raise StoreFull(f"too much is kept of every {kind}")
        return bool(kept)

    async def held(self, kind: str, owner: str) -> int:
        """The bytes of a kind that an owner keeps."""
        with _away():
            async with self._redis.pipeline(transaction=False) as both:
                both.time()
                both.hgetall(self._ledger(kind, owner))
                (now, _), slots = await both.execute()
        return sum(int(size) for slot, size in slots.items() if int(slot) >= now // SLOT_S)

    def _ledger(self, kind: str, owner: str) -> str:
        return f"{self._namespace}:kept:{kind}:{owner}"

    async def delete(self, key: str) -> None:
        """Forget a value."""
        with _away():
            await self._store.delete(key)

    async def claim(self, key: str, ttl_s: float, token: str = "") -> bool:
        """One command, so that of two workers only one is first; Litestar's store has none for it."""
        with _away():
            claimed = await self._redis.set(f"{self._namespace}:claim:{key}", token, nx=True, ex=max(1, int(ttl_s)))
            return bool(claimed)

    async def release(self, key: str, token: str) -> None:
        """Let it be claimed again, unless the claim is another's by now."""
        with _away():
            await self._release([f"{self._namespace}:claim:{key}"], [token])

    async def broadcast(self, message: bytes) -> None:
        """To every other worker."""
        with _away():
            await self._bus.publish(self.worker.encode() + message, [self._everybody])

    async def send(self, worker: str, message: bytes) -> None:
        """To one other worker; a name that none can have is not sent to."""
        if len(worker) == _ID_CHARACTERS and worker.isalnum():
            with _away():
                await self._bus.publish(self.worker.encode() + message, [f"{self._namespace}:worker:{worker}"])

    async def start(self, receive: Receive) -> None:
        """Hear the others, and say every few seconds that this worker lives; both outlive a lost connection."""
        listening, self._stopping = asyncio.Event(), False
        self._jobs = [
            asyncio.create_task(self._again(lambda: self._listen(receive, listening))),
            asyncio.create_task(self._again(self._live)),
        ]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(MAX_PAUSE_S):
                await listening.wait()

    async def stop(self) -> None:
        """Hear no more."""
        self._stopping = True
        for _ in range(STOP_TRIES):  # a cancellation that meets a timeout inside the client can be lost there
            for job in self._jobs:
                job.cancel()
            if not self._jobs or not (await asyncio.wait(self._jobs, timeout=0.5))[1]:
                break
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(CONNECT_S):
                await self._store.delete(f"worker:{self.worker}")
        await self._redis.aclose()

    async def _again(self, job: Callable[[], Awaitable[None]]) -> None:
        pause = 0.1
        while not self._stopping:
            try:
                await job()
            except Exception as error:  # noqa: BLE001 - whatever it is, a worker that hears nothing is worse
                logger.error("the shared store is away", reason=str(error), again_in_s=pause)
            await asyncio.sleep(pause)
            pause = min(pause * 2, MAX_PAUSE_S)

    async def _live(self) -> None:
        while True:
            await self.set(f"worker:{self.worker}", b"", ALIVE_S)
            await self._measure()
            await asyncio.sleep(BEAT_S)

    async def _measure(self) -> None:
        """Learn how much the store may hold, so that one kind does not take it all: without room no session opens."""
        with contextlib.suppress(ResponseError):  # an operator may forbid INFO
            memory = int((await self._redis.info("memory")).get("maxmemory", 0))
            self._of_a_kind = memory // OF_A_KIND or UNBOUNDED

    async def _listen(self, receive: Receive, listening: asyncio.Event) -> None:
        channels = RedisChannelsPubSubBackend(redis=self._redis, stream_sleep_no_subscriptions=1)
        await channels.subscribe([self._everybody, self._own])
        listening.set()
        try:
            async for _, data in channels.stream_events():
                if data[:_ID_CHARACTERS] != self.worker.encode():
                    receive(data[_ID_CHARACTERS:])
        finally:
            with contextlib.suppress(RedisError, OSError):
                await channels.on_shutdown()


@contextlib.contextmanager
def _away() -> Iterator[None]:
    """The client's errors in the engine's word."""
    try:
        yield
    except OutOfMemoryError as error:
        raise StoreFull(str(error)) from error
    except (RedisError, OSError) as error:
        raise StoreUnavailable(str(error)) from error
