-- Takes a mutex that is free and has no waiters: the common case of acquire.lua, without what the other cases need.
--
-- KEYS     1 state
-- ARGV     1 id  2 ttl µs  3 ttl and retention ms
-- returns  the token, > 0; −ms until the present lease ends; 0 if acquire.lua must decide
--
-- Invariant: changes nothing unless the lock is free and its queue empty; the token is greater than all before.

local last, till, lapsed, queued, owner = parse(redis.call('GET', KEYS[1]))
if not last then
  return 0
end
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
if owner ~= '-' or queued == '1' then
  if tonumber(till) <= now then
    return 0
  end
  return -math.ceil((till - now) / 1000)
end
-- Formatting numbers is the most expensive part of this script: the clock's digits exist already.
local token, digits = now, t[1] .. string.sub('00000' .. t[2], -6)
if last + 1 > now then
  token = last + 1
  digits = string.format('%.0f', token)
end
if not lapsed then
  lapsed = string.format('%.0f', token - 1)
end
redis.call('SET', KEYS[1], '1 ' .. digits .. ' ' .. string.format('%.0f', now + ARGV[2]) .. ' ' .. lapsed .. ' 0 ' .. ARGV[1],
  'PX', ARGV[3])
return token
