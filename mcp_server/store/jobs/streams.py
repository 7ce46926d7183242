"""The job queue in Redis: a stream with a consumer group. Whose entry is pending for a worker holds the job's lease.

Each operation is one Lua script. An entry names its job and no more; the job lies beside the record, in a hash that
names its entry, so that who claims an entry sees whether it is still the job's.
"""

import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import msgspec

from mcp_server.store.backend import OVERHEAD, StoreFull, VersionConflict
from mcp_server.store.jobs.queue import VERSION, Job, Move, Persistence
from mcp_server.store.scripts import CONFLICT, FULL, KEPT

FREE_MS: Final = 24 * 3600 * 1000
"""For how long what is free has been idle: longer than any lease."""
GONE_MS: Final = 3600 * 1000
"""Consumers that hold nothing and were not heard of for so long are forgotten: each start of a worker is a new one."""

_WRITE: Final = (
    f"""
local stands = redis.call('GETRANGE', KEYS[1], 0, {VERSION - 1})
if stands == string.sub(ARGV[1], 1, {VERSION}) then return 1 end
if stands ~= ARGV[2] then return {CONFLICT} end
"""
    """
local life, charge, slot = tonumber(ARGV[3]), tonumber(ARGV[6]), tonumber(ARGV[9])
if life == 0 then life = redis.call('PTTL', KEYS[1]) end
local life_s, now = math.ceil(life / 1000), tonumber(redis.call('TIME')[1])
local first, last = math.floor(now / slot), math.floor((now + life_s) / slot)
"""
    + KEPT
    + """
if charge > 0 then
  if kept(KEYS[4]) + charge > tonumber(ARGV[7]) then return 0 end
"""
    + f"  if kept(KEYS[5]) + charge > tonumber(ARGV[8]) then return {FULL} end"
    + """
  for i = 4, 5 do
    redis.call('HINCRBY', KEYS[i], string.format('%d', last), charge)
    if redis.call('TTL', KEYS[i]) < life_s + slot then redis.call('EXPIRE', KEYS[i], life_s + slot) end
  end
end
redis.call('SETRANGE', KEYS[1], 0, '')
local act, entry = ARGV[4], redis.call('HGET', KEYS[2], 'entry')
if ARGV[10] ~= '' then redis.call('HSET', KEYS[2], 'job', ARGV[10]) end
if act == 'run' or act == 'free' then
  if redis.call('EXISTS', KEYS[3]) == 0 then redis.call('XGROUP', 'CREATE', KEYS[3], 'workers', '0', 'MKSTREAM') end
  if not entry then
    entry = redis.call('XADD', KEYS[3], '*', 'id', ARGV[11])
    redis.call('HSET', KEYS[2], 'entry', entry)
  end
  if act == 'run' then
    redis.call('XCLAIM', KEYS[3], 'workers', ARGV[5], 0, entry, 'FORCE', 'JUSTID', 'LASTID', entry)
  else
    redis.call('XCLAIM', KEYS[3], 'workers', '-', 0, entry, 'IDLE', ARGV[12], 'FORCE', 'JUSTID', 'LASTID', entry)
  end
elseif entry and (act == 'park' or act == 'end') then
  redis.call('XACK', KEYS[3], 'workers', entry)
  redis.call('XDEL', KEYS[3], entry)
  redis.call('HDEL', KEYS[2], 'entry')
end
if act == 'end' then redis.call('DEL', KEYS[2]) else redis.call('PEXPIRE', KEYS[2], life) end
redis.call('SET', KEYS[1], ARGV[1], 'PX', life)
return 1
"""
)
"""KEYS record, job, stream, ledger of the owner, ledger of all; ARGV record, version that stands, life in ms (0: as
it is), what becomes of the job, worker, charge, limit, total, slot in s, job, id, how idle what is free is.

An entry is delivered to the worker that adds it: it took the call, and will run it. A full store refuses a script's
first write alone, if that can grow: SETRANGE of nothing is such a one, and changes nothing. The record is written last:
a key of another type ends a script where it stands, and whoever says the move again must not find it done.
"""

_MINE: Final = """
local function mine(job)
  local entry = redis.call('HGET', job, 'entry')
  if entry and #redis.call('XPENDING', KEYS[1], 'workers', entry, entry, 1, ARGV[1]) > 0 then return entry end
end
"""
_RENEW: Final = (
    _MINE
    + """
local lost = {}
for i = 2, #KEYS do
  local entry = mine(KEYS[i])
  if entry then redis.call('XCLAIM', KEYS[1], 'workers', ARGV[1], 0, entry, 'JUSTID')
  else lost[#lost + 1] = i - 2 end
end
return lost
"""
)
"""KEYS stream, jobs; ARGV worker. Only of its own: XCLAIM alone would take it back from who claimed it."""

_CLAIM: Final = """
-- A store that is full lets nothing be noted, and what is there is leased all the same.
redis.pcall('ZADD', KEYS[2], redis.call('TIME')[1], ARGV[1])
redis.call('PEXPIRE', KEYS[2], ARGV[5])
if redis.call('EXISTS', KEYS[1]) == 0 then return {} end
local worker, jobs, idle, most = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local found, start, turns = {}, '0-0', 0
repeat
  local got = redis.call('XAUTOCLAIM', KEYS[1], 'workers', worker, idle, start, 'COUNT', most - #found)
  start, turns = got[1], turns + 1
  for _, one in ipairs(got[2]) do
    if one then
      local entry, id = one[1], one[2][2]
      if redis.call('HGET', jobs .. id .. ':job', 'entry') == entry then found[#found + 1] = id
      else
        redis.call('XACK', KEYS[1], 'workers', entry)
        redis.call('XDEL', KEYS[1], entry)
      end
    end
  end
until start == '0-0' or #found >= most or turns >= 100
for _, one in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], 'workers')) do
  local of = {}
  for i = 1, #one, 2 do of[one[i]] = one[i + 1] end
  if of.pending == 0 and of.idle > tonumber(ARGV[5]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], 'workers', of.name)
  end
end
return found
"""
"""KEYS stream, who claims; ARGV worker, what the keys of jobs begin with, idle for so many ms, how many, ms of who is
gone. Who claims is kept by us: until Redis 7.2 a consumer that has found nothing is none."""

_WITHDRAW: Final = """
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. redis.call('TIME')[1] - tonumber(ARGV[2]))
return redis.call('ZCARD', KEYS[1])
"""
"""KEYS who claims; ARGV worker, after how many seconds of silence one is gone."""

_POSTPONE: Final = (
    _MINE
    + """
local entry = mine(KEYS[2])
if entry then redis.call('XCLAIM', KEYS[1], 'workers', '-', 0, entry, 'JUSTID') end
"""
)
_DROP: Final = """
local entry = redis.call('HGET', KEYS[2], 'entry')
if entry then
  redis.call('XACK', KEYS[1], 'workers', entry)
  redis.call('XDEL', KEYS[1], entry)
end
redis.call('DEL', KEYS[2])
"""
_LEAVE: Final = """
if redis.call('EXISTS', KEYS[1]) == 1 and #redis.call('XPENDING', KEYS[1], 'workers', '-', '+', 1, ARGV[1]) == 0 then
  redis.call('XGROUP', 'DELCONSUMER', KEYS[1], 'workers', ARGV[1])
end
"""
"""A consumer that is forgotten takes with it what is pending for it, which nobody would run then."""
_JOB: Final = "return {redis.call('HGET', KEYS[1], 'job'), redis.call('PTTL', KEYS[1])}"

Script = Callable[[str, Sequence[str], Sequence[Any]], Awaitable[Any]]


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where the queue lies: how its keys begin, the slot of a ledger, and what all tasks may take, for a value."""

    namespace: str
    slot_s: int
    total: Callable[[bytes], int]


class RedisJobs:
    """The queue of one worker; `run` runs a script, and raises the port's errors."""

    def __init__(self, worker: str, place: Place, run: Script, config: Callable[[str], Awaitable[str | None]]) -> None:
        self._worker, self._place, self._run, self._config = worker, place, run, config
        self._stream = f"{place.namespace}:tasks"
        self._claimants = f"{self._stream}:claimants"

    async def write(self, move: Move) -> bool:
        """One step; whether it fits into its owner's bound."""
        ledger = f"{self._place.namespace}:kept:task:"
        charge = move.charge + OVERHEAD if move.charge and not move.replaces else move.charge
        total = self._place.total(move.record)
        done = await self._run(
            _WRITE,
            [self._record(move.id), self._job(move.id), self._stream, ledger + move.owner, ledger],
            [
                *(move.record, move.replaces, 0 if move.ttl_s is None else max(1, int(move.ttl_s * 1000)), move.then),
                *(self._worker, charge, move.limit, total, self._place.slot_s, move.job, move.id, FREE_MS),
            ],
        )
        if done == CONFLICT:
            raise VersionConflict(move.id)
        if done == FULL:
            raise StoreFull("too much is kept of every task")
        return bool(done)

    async def job(self, job_id: str) -> Job | None:
        """What is kept to run it."""
        data, left_ms = await self._run(_JOB, [self._job(job_id)], [])
        return None if data is None else Job(data, left_ms / 1000)

    async def renew(self, job_ids: Sequence[str]) -> set[str]:
        """Hold these leases anew."""
        lost = await self._run(_RENEW, [self._stream, *map(self._job, job_ids)], [self._worker])
        return {job_ids[number] for number in lost}

    async def claim(self, idle_s: float, most: int) -> list[str]:
        """Lease what is free."""
        begin = f"{self._place.namespace}:task:"
        keys = [self._stream, self._claimants]
        found = await self._run(_CLAIM, keys, [self._worker, begin, int(idle_s * 1000), most, GONE_MS])
        return [one.decode() for one in found]

    async def withdraw(self, silent_s: float) -> bool:
        """Whether somebody else has claimed lately."""
        return bool(await self._run(_WITHDRAW, [self._claimants], [self._worker, math.ceil(silent_s)]))

    async def postpone(self, job_id: str) -> None:
        """Not now."""
        await self._run(_POSTPONE, [self._stream, self._job(job_id)], [self._worker])

    async def drop(self, job_id: str) -> None:
        """Nothing to run."""
        await self._run(_DROP, [self._stream, self._job(job_id)], [])

    async def leave(self) -> None:
        """Forget this worker."""
        await self._run(_LEAVE, [self._stream], [self._worker])

    async def persistence(self) -> Persistence:
        """By the append-only file: a snapshot alone loses what came after it."""
        appends = await self._config("appendonly")
        return "unknown" if appends is None else "kept" if appends == "yes" else "lost"

    def _record(self, job_id: str) -> str:
        return f"{self._place.namespace}:task:{job_id}"

    def _job(self, job_id: str) -> str:
        return f"{self._place.namespace}:task:{job_id}:job"
