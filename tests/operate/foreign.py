"""A Redis in which others write: what is kept there is overwritten, and nothing of it may be obeyed."""

import asyncio
import os
import pickle
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.kit.served import resident_kib
from tests.operate.faults import hang_up
from tests.operate.records import Call
from tests.operate.section import Place
from tests.operate.verdicts import Judged

LIFE_MS: Final = 60_000
HUGE: Final = 16 * 1024 * 1024
MOST_HUGE: Final = 12
GROWTH_MIB: Final = 200
WRONG_JSON: Final = (b"{}", b"[]", b"null", b"7", b'{"id":1}', b'[[["x"]]]', b'{"version":99,"status":"completed"}')
OURS: Final = (b'"request failed"', b'"a background task ended"', b'"a line could not be answered"')
"""What the log says of faults that are ours."""
WAIT_S: Final = 6.0
BACK_S: Final = 6.0


class _Touch:
    """Unpickled, it leaves a file."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self._file}",)


async def spoil(place: Place) -> None:
    """Strings first, then types, then messages, then sizes; a worker begins meanwhile; in the end all is forgotten."""
    canary = place.folder / "canary"
    pickled = pickle.dumps(_Touch(canary))
    before = {server.number: server.workers() for server in place.servers}
    kib = [resident_kib(pid) for pids in before.values() for pid in pids]
    async with place.around.store(await place.around.master()) as redis:
        for what, how in WAYS.items():
            spoiled = await how(redis, [key async for key in redis.scan_iter("mcp:*", count=500)], pickled)
            place.note(f"{spoiled} keys of Redis overwritten: {what}")
            told = await _messages(redis, pickled)
            place.note(f"{told} foreign messages to workers")
            await asyncio.sleep(WAIT_S)
        await hang_up(place, place.servers[0])
        weights = [resident_kib(pid) for server in place.servers for pid in server.workers()]
        await redis.flushall()
        place.note("all of it is gone from Redis")
    again = place.load.asked
    await asyncio.sleep(BACK_S)
    since = again / place.shape.rate
    late = [one for one in place.load.calls.of("failed") if one.kind == "session" and one.due > since]
    same = all(server.workers() == before[server.number] for server in place.servers[1:])
    place.more += _judged(place, canary, same=same, grown=(max(weights) - max(kib)) / 1024, late=late)


def _judged(place: Place, canary: Path, *, same: bool, grown: float, late: Sequence[Call]) -> list[Judged]:
    logs = b"".join(server.log.read_bytes() for server in place.servers)
    faults = {line.decode(): logs.count(line) for line in OURS if line in logs}
    sessions = place.shape.sessions
    told = ", ".join(f"{count} times {what}" for what, count in faults.items()) or "none"
    return [
        Judged("nothing of it was executed", not canary.exists(), f"a pickle that leaves a file: {canary.exists()}"),
        Judged("no worker ended, no fault of ours", same and not faults, f"the same workers: {same}; faults: {told}"),
        Judged("memory is bounded", grown < GROWTH_MIB, f"the heaviest worker has {grown:+.0f} MiB"),
        Judged("a session is opened anew when it is gone", len(late) <= sessions, f"{len(late)} refused of {sessions}"),
    ]


async def _values(redis: Any, keys: Sequence[bytes], pickled: bytes) -> int:
    """Of what is a string, each gets another of these; of hashes and sets some member gets one."""
    said = (pickled, os.urandom(400), b"", *WRONG_JSON)
    for number, key in enumerate(keys):
        value = said[number % len(said)]
        match await redis.type(key):
            case b"string":
                await redis.set(key, value, px=LIFE_MS)
            case b"hash":
                fields = await redis.hkeys(key)
                await redis.hset(key, random.choice(fields), value)
                await redis.hset(key, value or b"x", value)
            case b"zset":
                await redis.zadd(key, {value or b"x": random.choice((0, 1e18, 1))})
            case b"list":
                await redis.lpush(key, value)
            case b"set":
                await redis.sadd(key, value)
            case b"stream":
                await redis.xadd(key, {value or b"x": value})
    return len(keys)


async def _types(redis: Any, keys: Sequence[bytes], pickled: bytes) -> int:
    """Each is of another type than before."""
    for key in keys:
        text = await redis.type(key) != b"string"
        await redis.delete(key)
        await (redis.set(key, pickled) if text else redis.rpush(key, pickled))
        await redis.pexpire(key, LIFE_MS)
    return len(keys)


async def _huge(redis: Any, keys: Sequence[bytes], _: bytes) -> int:
    """Sessions first, for they are read by each of their calls."""
    chosen = sorted(keys, key=lambda key: b"session" not in key)[:MOST_HUGE]
    for key in chosen:
        await redis.delete(key)
        await redis.set(key, b"[" * HUGE, px=LIFE_MS)
    return len(chosen)


async def _messages(redis: Any, pickled: bytes) -> int:
    """To all channels, as if another worker had sent them."""
    told = 0
    for channel in await redis.pubsub_channels("mcp:*"):
        for data in (pickled, b"", os.urandom(100), b"[" * 100_000, *WRONG_JSON):
            for sender in (b"", b"0" * 16, b"f" * 12):
                told += await redis.publish(channel, sender + data)
    return told


WAYS: Final[Mapping[str, Callable[[Any, Sequence[bytes], bytes], Awaitable[int]]]] = {
    "pickles, noise and JSON of other shapes": _values,
    "other types": _types,
    "huge values": _huge,
}
