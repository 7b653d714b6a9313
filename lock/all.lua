-- Takes several mutexes of one slot at once, or none, or takes a place in the queue of each.
--
-- KEYS     of each lock: state  queue  waiters  pulses
-- ARGV     1 id  2 ttl µs  3 retention ms  4 how long the waiter counts as alive µs, 0 = do not queue
--          5 the waiter's channel  6 waited so far µs  7 the waiter's grant µs  8 SPUBLISH or PUBLISH
-- returns  the token, greater than every one before under any of the keys; or {−ms until the first lock in the way
--          may be free, now, its index}
--
-- Invariant: all are taken or none. A lock counts as free when its lease has ended, and only for the first live
-- waiter of its queue. While others are in the way, a free lock is kept for the first waiter for as long as it has
-- waited.

local id, retention, waited = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[6])
local now, top, blocked, locks = clock(), 0, nil, {}
for i = 1, #KEYS / 4 do
  local lock = load(i, waited > 0 and 'GETEX' or 'GET')
  if not lock then
    return redis.error_reply(FORMAT)
  end
  locks[i], top = lock, math.max(top, lock.token)
end
for i, lock in ipairs(locks) do
  lock.queued = lock.queued or waited > 0
  lock.ready = lock.owner == id or free(lock, now) and (not lock.queued or turn(lock, id, now, ARGV[8]))
  if not lock.ready then
    blocked, top = blocked or i, math.max(top, lock.token)
  end
end

if not blocked then
  for _, lock in ipairs(locks) do
    lock.token = top
    give(lock, id, now, tonumber(ARGV[2]))
    save(lock, now, retention)
  end
  return locks[1].token
end

local alive = tonumber(ARGV[4])
for _, lock in ipairs(locks) do
  if alive > 0 then
    lock.changed = lock.changed or not lock.queued
    lock.queued = true
    queue(lock, id, now - waited, now + alive, ARGV[7], ARGV[5], retention)
    local head = lock.ready and lock.owner == '-' and lock.till == 0 and first(lock, now)
    if head and head.id == id then
      keep(lock, id, now)
    end
  end
  if lock.changed or waited > 0 then
    save(lock, now, retention)
  end
end
return {-math.max(1, math.ceil((locks[blocked].till - now) / 1000)), now, blocked}
