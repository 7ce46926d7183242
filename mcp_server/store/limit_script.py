"""Lua script of the shared limits: rates by GCRA, quotas and slots of all workers, settled and granted in one step."""

from typing import Final

REDIS_CLOCK: Final = "redis.call('TIME')"
SLACK_MS: Final = 10_000
"""A rate's key outlives its debt by this, a quota's its period by an hour; then nothing is left of who called."""
WORKERS_S: Final = 30
"""Who has settled in this time shares the limits while the store is away."""

_SCRIPT: Final = """
local worker, lease, n = ARGV[1], tonumber(ARGV[2]), #KEYS - 1
local time = @CLOCK@
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local accounts = {}
for i = 1, n do
  local at = 4 * i - 2
  local one = {kind = ARGV[at + 1], bound = tonumber(ARGV[at + 3]), step = tonumber(ARGV[at + 4])}
  local used = tonumber(ARGV[at + 2])
  if one.kind == 'slots' then
    one.others, one.state = 0, used
    local fields = redis.call('HGETALL', KEYS[i])
    for f = 1, #fields, 2 do
      local held, ends = string.match(fields[f + 1], '^(%d+):(%d+)$')
      if held == nil or tonumber(ends) <= now then redis.call('HDEL', KEYS[i], fields[f])
      elseif fields[f] ~= worker then one.others = one.others + tonumber(held) end
    end
  else
    one.was = tonumber(redis.call('GET', KEYS[i]) or '0') or 0
    if one.kind == 'rate' then one.state = math.max(one.was, now) + used * one.step
    else one.state = math.max(one.was + used, 0) end
  end
  accounts[i] = one
end
local function wait(one, cost)
  if one.kind == 'rate' then return one.state - now - one.bound - 1 end
  if one.kind == 'quota' then return one.state + cost <= one.bound and 0 or one.step * 1000 end
  return one.others + one.state < one.bound and 0 or 1000000
end
local answers = {}
for a = 4 * n + 3, #ARGV do
  local longest, whose, named = 0, 0, {}
  local cost, places = string.match(ARGV[a], '^(%d+):(.*)$')
  cost = tonumber(cost)
  for index in string.gmatch(places, '%d+') do
    local place = tonumber(index)
    local left = wait(accounts[place + 1], cost)
    if left > longest then longest, whose = left, place end
    named[#named + 1] = accounts[place + 1]
  end
  if longest == 0 then
    for _, one in ipairs(named) do
      one.state = one.state + (one.kind == 'rate' and one.step or one.kind == 'quota' and cost or 1)
    end
  end
  answers[#answers + 1] = math.ceil(longest)
  answers[#answers + 1] = whose
end
local states = {}
for i, one in ipairs(accounts) do
  if one.kind == 'slots' then
    if one.state > 0 then
      redis.call('HSET', KEYS[i], worker, string.format('%d:%.0f', one.state, now + lease * 1000))
      redis.call('PEXPIRE', KEYS[i], lease)
    else redis.call('HDEL', KEYS[i], worker) end
    states[i] = one.state
  elseif one.kind == 'rate' then
    states[i] = math.ceil(one.state - now)
    if one.state > now and one.state > one.was then
      redis.call('SET', KEYS[i], string.format('%.3f', one.state), 'PX', math.ceil(states[i] / 1000) + @SLACK@)
    end
  else
    if one.state ~= one.was then
      redis.call('SET', KEYS[i], string.format('%.0f', one.state), 'PX', math.ceil(one.step) + 3600000)
    end
    states[i] = one.state
  end
end
local workers = KEYS[n + 1]
redis.call('ZADD', workers, now, worker)
redis.call('ZREMRANGEBYSCORE', workers, '-inf', string.format('%.0f', now - @WORKERS@ * 1000000))
redis.call('PEXPIRE', workers, @WORKERS@ * 1000)
return {redis.call('ZCARD', workers), states, answers}
"""


def script(clock: str = REDIS_CLOCK) -> str:
    """KEYS the accounts, last the workers; ARGV worker, life of a slot in ms, four for each account, then each call.

    An account's four are kind, used, bound, step (`limits/ledger.py`); a call is what it counts in quotas, a colon, and
    the places of the accounts that all must have room for it. Time is Redis' own, by `clock`. It may run twice where an
    answer was lost, and counts too much then rather than too little, by one credit.
    """
    return _SCRIPT.replace("@CLOCK@", clock).replace("@SLACK@", str(SLACK_MS)).replace("@WORKERS@", str(WORKERS_S))
