-- Reads the holder and the waiters of a mutex.
--
-- KEYS     1 state  2 queue  3 waiters  4 heartbeats
-- ARGV     1 how many waiters to list
-- returns  {last token, holders, waiters, holders listed, then for each holder: id, token, µs left, then for each
--          waiter: id, µs waited}
--
-- Invariant: writes nothing.

local lock = load(1, 'GET')
if not lock then
  return redis.error_reply(FORMAT)
end
local now = clock()
local holders = lock.owner ~= '-' and lock.leaseEnd > now and 1 or 0
local reply = {lock.token, holders, redis.call('ZCARD', lock.queue), holders}
if holders == 1 then
  reply[5], reply[6], reply[7] = lock.owner, lock.token, lock.leaseEnd - now
end
return appendWaiters(lock, now, reply, tonumber(ARGV[1]))
