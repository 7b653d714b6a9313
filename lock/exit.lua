-- Ends what an id has: a permit or a side, which passes to the first waiters, or a place in the queue.
--
-- KEYS     1 counter  2 queue  3 waiters and tokens  4 holders
-- ARGV     1 id  2 its token, unused  3 retention ms  4 SPUBLISH or PUBLISH  5 permits
-- returns  1 released  3 left the queue  0 it had nothing
--
-- Invariant: only the id itself ends what it has. A permit wakes at most one waiter, a writer who leaves wakes the
-- first writer or, if none waits, the readers.

local id = ARGV[1]
if not load() then
  return redis.error_reply(FORMAT)
end
local had = 0
if redis.call('ZREM', KEYS[4], id) == 1 then
  redis.call('HDEL', KEYS[3], id)
  had = 1
elseif leave(id) == 1 then
  had = 3
end
if had > 0 then
  local now = clock()
  expire(now)
  pass(now, tonumber(ARGV[5]), ARGV[4])
  keep(tonumber(ARGV[3]))
end
return had
