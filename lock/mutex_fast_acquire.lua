-- Acquires a mutex that is free and has no waiters: the common case of mutex_acquire.lua, without the other cases.
--
-- KEYS     1 state
-- ARGV     1 id  2 TTL µs  3 TTL + retention ms
-- returns  the token, > 0; −ms until the present lease ends; 0 if mutex_acquire.lua must decide
--
-- Invariant: it writes only if the lock is free and its queue is empty. The token is greater than all earlier tokens.

local state, last, expired = redis.call('GET', KEYS[1]), 0, nil
if state then
  last, expired = string.match(state, FREE)
end
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
if not last then
  local _, leaseEnd, _, queued, owner = parse(state)
  if not owner or owner == '-' and queued == '0' or tonumber(leaseEnd) <= now then
    return 0
  end
  return -math.ceil((leaseEnd - now) / 1000)
end
-- Formatting numbers is the most expensive part of this script, so it uses the digits of the clock as they are.
local sum = t[2] + ARGV[2]
local rest = sum % 1000000
local token = now
if last + 1 > now then
  token = last + 1
  redis.call('SET', KEYS[1], string.format('1 %.0f %d%06d %s 0 %s', token, t[1] + (sum - rest) / 1000000, rest, expired, ARGV[1]), 'PX', ARGV[3])
  return token
end
redis.call('SET', KEYS[1], string.format('1 %s%06d %d%06d %s 0 %s', t[1], t[2], t[1] + (sum - rest) / 1000000, rest,
  expired or string.format('%.0f', now - 1), ARGV[1]), 'PX', ARGV[3])
return token
