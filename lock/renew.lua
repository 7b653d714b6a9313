-- Extends the lease of a mutex.
--
-- KEYS     1 state  2 queue  3 waiters
-- ARGV     1 id  2 ttl µs  3 retention ms
-- returns  1, or 0 if the lock is another's, gone, or its lease has ended
--
-- Invariant: a lease that has ended is never extended.

local _, readable = load()
if not readable then
  return redis.error_reply(FORMAT)
end
if owner ~= ARGV[1] then
  return 0
end
local now = clock()
if till <= now then
  return 0
end
till = now + tonumber(ARGV[2])
save(now, tonumber(ARGV[3]))
return 1
