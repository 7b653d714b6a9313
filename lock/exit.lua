-- Ends what an id has: its permits or its side, which pass to the first waiters, or a place in the queue.
--
-- KEYS     1 counter  2 queue  3 waiters and tokens  4 holders  5 pulses
-- ARGV     1 id  2 its token, unused  3 retention ms  4 SPUBLISH or PUBLISH  5 permits
-- returns  1 released  3 left the queue  0 it had nothing; 10 more if a waiter was not notified, because this user
--          may not publish on its channel
--
-- Invariant: only the id itself ends what it has. A permit wakes at most one waiter, a writer that leaves wakes the
-- first writer or, if none waits, the readers.

local id = ARGV[1]
local lock = load(1, 'GETEX')
if not lock then
  return redis.error_reply(FORMAT)
end
local had = drop(lock, id)
if had == 0 and leave(lock, id) == 1 then
  had = 3
end
if had > 0 then
  local now = clock()
  expire(lock, now)
  pass(lock, now, tonumber(ARGV[5]), ARGV[4])
  save(lock, tonumber(ARGV[3]))
end
return silent and had + 10 or had
