"""Lua scripts of the Redis backend: each is one step, so that workers at once cannot come between look and write.

Each may run twice where an answer was lost: the second run finds what the first has done, or, of `KEEP`, counts too
much rather than too little.
"""

from typing import Final

CONFLICT: Final = -2
FULL: Final = -1

_STANDS: Final = """
local function conflicts(key, replaces)
  return replaces ~= '' and redis.call('EXISTS', key) == 1
    and redis.call('GETRANGE', key, 0, #replaces - 1) ~= replaces
end
"""
SWAP: Final = (
    _STANDS
    + """
if conflicts(KEYS[1], ARGV[3]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
)
"""Compare and swap: KEYS value; ARGV value, life in ms, the bytes that what stands must begin with."""

KEPT: Final = """
local function kept(ledger)
  local sum, fields = 0, redis.call('HGETALL', ledger)
  for i = 1, #fields, 2 do
    if tonumber(fields[i]) < first then redis.call('HDEL', ledger, fields[i])
    else sum = sum + tonumber(fields[i + 1]) end
  end
  return sum
end
"""
"""What a ledger of the owner or of all counts; needs `first`, the slot of now."""

KEEP: Final = (
    _STANDS
    + f"""
if conflicts(KEYS[3], ARGV[7]) then return {CONFLICT} end
"""
    + """
local charge, life, slot = tonumber(ARGV[1]), math.ceil(tonumber(ARGV[5]) / 1000), tonumber(ARGV[6])
local now = tonumber(redis.call('TIME')[1])
local first, last = math.floor(now / slot), math.floor((now + life) / slot)
"""
    + KEPT
    + """if kept(KEYS[1]) + charge > tonumber(ARGV[2]) then return 0 end
"""
    + f"""
if kept(KEYS[2]) + charge > tonumber(ARGV[3]) then return {FULL} end
"""
    + """
for i = 1, 2 do
  redis.call('HINCRBY', KEYS[i], string.format('%d', last), charge)
  if redis.call('TTL', KEYS[i]) < life + slot then redis.call('EXPIRE', KEYS[i], life + slot) end
end
redis.call('SET', KEYS[3], ARGV[4], 'PX', ARGV[5])
return 1
"""
)
"""Count and keep in one step, so that workers at once cannot pass a bound, and one that dies leaves nothing counted.

KEYS ledger of the owner, of all, value; ARGV charge, limit, total, value, life in ms, slot in s, replaces. A ledger is
a hash of slots of expiry and the bytes that expire in each; slots that are over count no more. Time is Redis' own: a
worker whose clock is ahead would forget what the others count.
"""

CLAIM: Final = """
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
return redis.call('GET', KEYS[1]) == ARGV[1] and 1 or 0
"""
EXTEND: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
RELEASE: Final = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end"
"""In one step: a claim that ran out in between may be another worker's by now."""
