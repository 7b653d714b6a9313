-- Acquires several mutexes of one slot at once, or none, or adds the id to the queue of each.
--
-- KEYS     of each lock: state  queue  waiters  heartbeats
-- ARGV     1 id  2 TTL µs  3 retention ms  4 how long the waiter counts as alive µs, 0 = do not queue
--          5 the waiter's channel  6 time waited so far µs  7 the waiter's grant µs  8 SPUBLISH or PUBLISH
-- returns  the token, greater than every earlier token of each lock; or {−ms until the first blocking lock may be free,
--          now, its index}
--
-- Invariant: all locks are acquired or none. A lock counts as free when its lease has ended, and only for the first
-- live waiter of its queue. While other locks block, a free lock is reserved for the first waiter. The reservation
-- lasts as long as that waiter has waited.

local id, retention, waited = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[6])
local now, top, blocking, locks = clock(), 0, nil, {}
for i = 1, #KEYS / 4 do
  local lock = load(i, waited > 0 and 'GETEX' or 'GET')
  if not lock then
    return redis.error_reply(FORMAT)
  end
  locks[i], top = lock, math.max(top, lock.token)
end
for i, lock in ipairs(locks) do
  lock.queued = lock.queued or waited > 0
  lock.ready = lock.owner == id or free(lock, now) and (not lock.queued or mayTake(lock, id, now, ARGV[8]))
  if not lock.ready then
    blocking, top = blocking or i, math.max(top, lock.token)
  end
end

if not blocking then
  for _, lock in ipairs(locks) do
    lock.token = top
    grant(lock, id, now, tonumber(ARGV[2]))
    save(lock, now, retention)
  end
  return locks[1].token
end

local aliveFor = tonumber(ARGV[4])
for _, lock in ipairs(locks) do
  if aliveFor > 0 then
    lock.changed = lock.changed or not lock.queued
    lock.queued = true
    enqueue(lock, id, now - waited, now + aliveFor, ARGV[7], ARGV[5], retention)
    local head = lock.ready and lock.owner == '-' and lock.leaseEnd == 0 and first(lock, now)
    if head and head.id == id then
      reserve(lock, id, now)
    end
  end
  if lock.changed or waited > 0 then
    save(lock, now, retention)
  end
end
return {-math.max(1, math.ceil((locks[blocking].leaseEnd - now) / 1000)), now, blocking}
