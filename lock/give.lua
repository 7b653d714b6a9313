-- Frees a mutex that nobody waits for: the common case of release.lua, without what the other cases need.
--
-- KEYS     1 state, see state.lua
-- ARGV     1 id
-- returns  1 released, 0 if release.lua must decide
--
-- Invariant: changes nothing unless the lock is the id's and its queue empty.

local s = redis.call('GET', KEYS[1])
if not s then
  return 0
end
local token, lapsed, owner = string.match(s, '^1 (%d+) %d+ (%d+) 0 (%S+)$')
if owner ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], '1 ' .. token .. ' 0 ' .. lapsed .. ' 0 -', 'KEEPTTL') -- the lease's rest and the retention
return 1
