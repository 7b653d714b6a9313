-- Acquires permits of a semaphore or a side of a read-write lock, or adds the id to its queue.
--
-- KEYS     1 counter  2 queue  3 waiters and tokens  4 holders  5 heartbeats
-- ARGV     1 id  2 TTL µs  3 retention ms  4 how long the waiter counts as alive µs, 0 = do not queue
--          5 the waiter's channel  6 time waited so far µs  7 the waiter's grant µs  8 SPUBLISH or PUBLISH  9 permits
-- returns  the token, > 0; or {token, µs since the permit was handed to id}; or {−ms until the first lease ends, now}
--
-- Invariant: there are never more holders than fit. Each id waits behind earlier waiters. Readers wait behind writers.

local id, ttl, permits = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[9])
local grantTTL, ms = tonumber(ARGV[7]), tonumber(ARGV[3]) + ttl / 1000
local lock = load(1, tonumber(ARGV[6]) > 0 and 'GETEX' or 'GET')
if not lock then
  return redis.error_reply(FORMAT)
end
local now = clock()
expire(lock, now)

local leaseEnd = redis.call('ZSCORE', lock.holders, id)
if leaseEnd then
  local token = string.match(redis.call('HGET', lock.waiters, id) or '', '^g (%d+)$')
  redis.call('ZADD', lock.holders, integer(now + ttl), id)
  if token then
    token = tonumber(token)
  else
    remove(lock, id)
    grant(lock, id, now, ttl)
    token = lock.token
  end
  save(lock, ms)
  return {token, now - (tonumber(leaseEnd) - grantTTL)}
end

-- Each command takes time, so a lock without waiters skips what only a queue needs.
local _, empty, handed = handOn(lock, now, permits, ARGV[8])
if handed and redis.call('ZSCORE', lock.holders, id) then
  remove(lock, id)
  grant(lock, id, now, ttl)
  save(lock, ms)
  return lock.token
end
if empty and fits(lock, id, permits) then
  local new = lock.unheld -- holders and waiters are created now, without a TTL
  grant(lock, id, now, ttl)
  if new then
    extend(lock.counter, ms)
    redis.call('PEXPIRE', lock.holders, integer(ms))
    redis.call('PEXPIRE', lock.waiters, integer(ms))
  else
    save(lock, ms)
  end
  return lock.token
end

local aliveFor = tonumber(ARGV[4])
if aliveFor > 0 then
  local position = now - tonumber(ARGV[6])
  if kind(id) == 'r' then
    position = position + 4000000000000000
  end
  enqueue(lock, id, position, now + aliveFor, ARGV[7], ARGV[5], ms)
end
save(lock, ms)
local soonest = redis.call('ZRANGE', lock.holders, 0, 0, 'WITHSCORES')[2]
return {-math.max(1, math.ceil(((tonumber(soonest or now)) - now) / 1000)), now}
