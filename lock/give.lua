-- Frees a mutex that has no waiters: the common case of release.lua, without what the other cases need.
--
-- KEYS     1 state
-- ARGV     1 id
-- returns  1 released, 0 if release.lua must decide
--
-- Invariant: changes nothing unless the lock is the id's and its queue empty. GETEX counts as a write that needs no
-- memory, so a full server frees the lock.

local token, lapsed, owner = string.match(redis.call('GETEX', KEYS[1]) or '', UNQUEUED)
if owner ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], '1 ' .. token .. ' 0 ' .. lapsed .. ' 0 -', 'KEEPTTL') -- the lease's rest and the retention
return 1
