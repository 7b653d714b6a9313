-- Reads who holds a mutex and who waits for it.
--
-- KEYS     1 state  2 queue  3 waiters  4 pulses
-- ARGV     1 how many waiters to list
-- returns  {last token, holders, waiters, holders listed, then for each: id, token, µs left, then for each waiter:
--          id, µs waited}
--
-- Invariant: writes nothing.

local lock = load(1, 'GET')
if not lock then
  return redis.error_reply(FORMAT)
end
local now = clock()
local holds = lock.owner ~= '-' and lock.till > now and 1 or 0
local reply = {lock.token, holds, redis.call('ZCARD', lock.queue), holds}
if holds == 1 then
  reply[5], reply[6], reply[7] = lock.owner, lock.token, lock.till - now
end
return list(lock, now, reply, tonumber(ARGV[1]))
