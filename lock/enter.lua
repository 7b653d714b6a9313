-- Takes a permit of a semaphore or a side of a read-write lock, or takes a place in its queue and says again that
-- the waiter lives.
--
-- KEYS     1 counter  2 queue  3 waiters and tokens  4 holders
-- ARGV     1 id  2 ttl µs  3 retention ms  4 how long the waiter counts as alive µs, 0 = do not queue
--          5 the waiter's channel  6 waited so far µs  7 the waiter's grant µs  8 SPUBLISH or PUBLISH  9 permits
-- returns  the token, > 0; or {token, µs since it was passed to id}; or {−ms until the first lease ends, now}
--
-- Invariant: never more holders than fit. Who comes waits behind who waits, and readers wait behind writers.

local id, ttl, permits = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[9])
local grant, ms = tonumber(ARGV[7]), tonumber(ARGV[3]) + ttl / 1000
if not load() then
  return redis.error_reply(FORMAT)
end
local now = clock()
expire(now)

local held = redis.call('ZSCORE', KEYS[4], id)
if held then
  local mine = string.match(redis.call('HGET', KEYS[3], id) or '', '^g (%d+)$')
  redis.call('ZADD', KEYS[4], whole(now + ttl), id)
  if mine then
    mine = tonumber(mine)
  else
    give(id, now, ttl)
    mine = token
  end
  keep(ms)
  return {mine, now - (tonumber(held) - grant)}
end

local head, empty = pass(now, permits, ARGV[8])
held = redis.call('ZSCORE', KEYS[4], id)
if held or empty and fits(id, permits) then
  leave(id)
  give(id, now, ttl)
  keep(ms)
  return token
end

local alive = tonumber(ARGV[4])
if alive > 0 then
  local place = now - tonumber(ARGV[6])
  if string.sub(id, 1, 1) == 'r' then
    place = place + 4000000000000000
  end
  queue(id, place, now + alive, ARGV[7], ARGV[5])
end
keep(ms)
local soon = redis.call('ZRANGE', KEYS[4], 0, 0, 'WITHSCORES')[2]
return {-math.max(1, math.ceil(((tonumber(soon or now)) - now) / 1000)), now}
