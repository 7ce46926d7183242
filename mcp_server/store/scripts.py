"""Lua scripts of the Redis backend: each is one step, so that workers at once cannot come between look and write.

Each may run twice where an answer was lost: the second run finds what the first has done, or, of `KEEP`, counts too
much rather than too little.
"""

from typing import Final

REMEMBER: Final = """
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', redis.call('TIME')[1])
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -(tonumber(ARGV[3]) + 1))
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
if last[2] then redis.call('EXPIREAT', KEYS[1], math.ceil(tonumber(last[2]))) end
"""
"""A set of values that expire: KEYS set; ARGV value, its end in seconds since the epoch, how many at most."""

CONFLICT: Final = -2
FULL: Final = -1

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
    """
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

KEYS ledger of the owner, of all, value; ARGV charge, limit, total, value, life in ms, slot in s. A ledger is
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
