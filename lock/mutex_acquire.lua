-- Acquires a mutex, or adds the id to its queue.
--
-- KEYS     1 state  2 queue  3 waiters  4 heartbeats
-- ARGV     1 id  2 TTL µs  3 retention ms  4 how long the waiter counts as alive µs, 0 = do not queue
--          5 the waiter's channel  6 time waited so far µs  7 the waiter's grant µs  8 SPUBLISH or PUBLISH
-- returns  the token, > 0; or {token, µs since the lock was handed to id}; or {−ms until the lock may be free, now}
--
-- Invariant: the owner changes only when the lock is free or its lease has ended. Each change of the owner creates a
-- token that is greater than all earlier tokens. The first live waiter comes before every new caller.

local id, retention, waited = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[6])
local lock = load(1, waited > 0 and 'GETEX' or 'GET')
if not lock then
  return redis.error_reply(FORMAT)
end
local now = clock()

if lock.owner == id then
  local age = now - (lock.leaseEnd - tonumber(ARGV[7]))
  lock.leaseEnd = now + tonumber(ARGV[2])
  save(lock, now, retention)
  return {lock.token, age}
end

lock.queued = lock.queued or waited > 0
if free(lock, now) and (not lock.queued or mayTake(lock, id, now, ARGV[8])) then
  grant(lock, id, now, tonumber(ARGV[2]))
  save(lock, now, retention)
  return lock.token
end

local aliveFor = tonumber(ARGV[4])
if aliveFor > 0 then
  enqueue(lock, id, now - waited, now + aliveFor, ARGV[7], ARGV[5], retention)
  lock.changed = lock.changed or not lock.queued
  lock.queued = true
end
if lock.changed or waited > 0 then
  save(lock, now, retention)
end
return {-math.max(1, math.ceil((lock.leaseEnd - now) / 1000)), now}
