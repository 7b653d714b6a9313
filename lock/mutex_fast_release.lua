-- Releases a mutex that has no waiters: the common case, without the functions of the other cases. mutex_release.lua
-- begins with it.
--
-- KEYS     1 state
-- ARGV     1 id
-- returns  1 released, nil if mutex_release.lua must decide
--
-- Invariant: it writes only if id owns the lock and the queue is empty. GETEX counts as a write that needs no memory, so
-- a full server frees the lock.

local token, expired, owner = string.match(redis.call('GETEX', KEYS[1]) or '', UNQUEUED)
if owner == ARGV[1] then
  redis.call('SET', KEYS[1], '1 ' .. token .. ' 0 ' .. expired .. ' 0 -', 'KEEPTTL') -- the TTL covers the retention
  return 1
end
