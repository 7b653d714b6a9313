-- Extends a lease in a semaphore or a read-write lock.
--
-- KEYS     1 counter  2 queue  3 waiters and tokens  4 holders
-- ARGV     1 id  2 ttl µs  3 retention ms
-- returns  1, or 0 if it is gone or has ended
--
-- Invariant: a lease that has ended is never extended.

local now = clock()
local till = redis.call('ZSCORE', KEYS[4], ARGV[1])
if not till or tonumber(till) <= now then
  return 0
end
redis.call('ZADD', KEYS[4], whole(now + tonumber(ARGV[2])), ARGV[1])
keep(tonumber(ARGV[3]) + tonumber(ARGV[2]) / 1000)
return 1
