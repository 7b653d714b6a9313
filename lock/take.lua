-- Takes a mutex that is free and has no waiters: the common case of acquire.lua, without what the other cases need.
--
-- KEYS     1 state
-- ARGV     1 id  2 ttl µs  3 ttl and retention ms
-- returns  the token, > 0; −ms until the present lease ends; 0 if acquire.lua must decide
--
-- Invariant: changes nothing unless the lock is free and its queue empty; the token is greater than all before.

local state, last, lapsed = redis.call('GET', KEYS[1]), 0, nil
if state then
  last, lapsed = string.match(state, VACANT)
end
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
if not last then
  local _, till, _, queued, owner = parse(state)
  if not owner or owner == '-' and queued == '0' or tonumber(till) <= now then
    return 0
  end
  return -math.ceil((till - now) / 1000)
end
-- Formatting numbers is the most expensive part of this script: the clock's digits exist already.
local span = t[2] + ARGV[2]
local rest = span % 1000000
local token = now
if last + 1 > now then
  token = last + 1
  redis.call('SET', KEYS[1], string.format('1 %.0f %d%06d %s 0 %s', token, t[1] + (span - rest) / 1000000, rest, lapsed, ARGV[1]), 'PX', ARGV[3])
  return token
end
redis.call('SET', KEYS[1], string.format('1 %s%06d %d%06d %s 0 %s', t[1], t[2], t[1] + (span - rest) / 1000000, rest,
  lapsed or string.format('%.0f', now - 1), ARGV[1]), 'PX', ARGV[3])
return token
