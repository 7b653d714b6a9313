-- Takes permits of a semaphore or a side of a read-write lock, or takes a place in its queue.
--
-- KEYS     1 counter  2 queue  3 waiters and tokens  4 holders  5 pulses
-- ARGV     1 id  2 ttl µs  3 retention ms  4 how long the waiter counts as alive µs, 0 = do not queue
--          5 the waiter's channel  6 waited so far µs  7 the waiter's grant µs  8 SPUBLISH or PUBLISH  9 permits
-- returns  the token, > 0; or {token, µs since it was passed to id}; or {−ms until the first lease ends, now}
--
-- Invariant: never more holders than fit. Each id waits behind the waiters before it, and readers wait behind writers.

local id, ttl, permits = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[9])
local grant, ms = tonumber(ARGV[7]), tonumber(ARGV[3]) + ttl / 1000
local lock = load(1, tonumber(ARGV[6]) > 0 and 'GETEX' or 'GET')
if not lock then
  return redis.error_reply(FORMAT)
end
local now = clock()
expire(lock, now)

local held = redis.call('ZSCORE', lock.holders, id)
if held then
  local mine = string.match(redis.call('HGET', lock.waiters, id) or '', '^g (%d+)$')
  redis.call('ZADD', lock.holders, whole(now + ttl), id)
  if mine then
    mine = tonumber(mine)
  else
    drop(lock, id)
    give(lock, id, now, ttl)
    mine = lock.token
  end
  save(lock, ms)
  return {mine, now - (tonumber(held) - grant)}
end

local head, empty = pass(lock, now, permits, ARGV[8])
held = redis.call('ZSCORE', lock.holders, id)
if held or empty and fits(lock, id, permits) then
  leave(lock, id)
  if held then
    drop(lock, id)
  end
  give(lock, id, now, ttl)
  save(lock, ms)
  return lock.token
end

local alive = tonumber(ARGV[4])
if alive > 0 then
  local place = now - tonumber(ARGV[6])
  if kind(id) == 'r' then
    place = place + 4000000000000000
  end
  queue(lock, id, place, now + alive, ARGV[7], ARGV[5], ms)
end
save(lock, ms)
local soon = redis.call('ZRANGE', lock.holders, 0, 0, 'WITHSCORES')[2]
return {-math.max(1, math.ceil(((tonumber(soon or now)) - now) / 1000)), now}
