-- What a semaphore and a read-write lock keep, shared by their scripts. KEYS come in fives: counter "1 <last token>";
-- queue; waiters; holders, a sorted set, holder id -> when its lease ends, µs; pulses. In waiters a holder's entry is
-- "g <token>", and the entry + is how many permits the holders have beyond one each. An id begins with what it wants:
-- s a permit, s5 five permits, r to read, w to write. The texts outlive the leases: the token must not start again.

-- Reads the n-th; nil if its format is another one. For GETEX see mutex.lua.
local function load(n, reader)
  local at = 5 * n - 4
  local lock = {counter = KEYS[at], queue = KEYS[at + 1], waiters = KEYS[at + 2], holders = KEYS[at + 3], pulses = KEYS[at + 4]}
  local counter = redis.call(reader, lock.counter)
  local token = string.match(counter or '1 0', '^1 (%d+)$')
  lock.token = token and tonumber(token)
  return token and lock
end

local function save(lock, ms)
  outlive(lock.counter, ms)
  outlive(lock.queue, ms)
  outlive(lock.waiters, ms)
  outlive(lock.holders, ms)
end

local function weight(id)
  return tonumber(string.match(id, '^s(%d+)') or 1)
end

-- Ends a hold; returns 1 if there was one.
local function drop(lock, id)
  local was = redis.call('ZREM', lock.holders, id)
  if was == 1 then
    redis.call('HDEL', lock.waiters, id)
    if weight(id) > 1 then
      if redis.call('ZCARD', lock.holders) == 0 then
        redis.call('HDEL', lock.waiters, '+')
      else
        redis.call('HINCRBY', lock.waiters, '+', 1 - weight(id))
      end
    end
  end
  return was
end

local function expire(lock, now)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', lock.holders, '-inf', whole(now), 'LIMIT', 0, 500)) do
    drop(lock, id)
  end
end

local function fits(lock, id, permits)
  if kind(id) == 's' then
    local more = tonumber(redis.call('HGET', lock.waiters, '+') or 0)
    return redis.call('ZCARD', lock.holders) + more + weight(id) <= permits
  end
  local one = redis.call('ZRANGE', lock.holders, 0, 0)[1]
  return not one or kind(id) == 'r' and kind(one) == 'r'
end

local function give(lock, id, now, span)
  lock.token = math.max(lock.token + 1, now)
  redis.call('SET', lock.counter, '1 ' .. whole(lock.token), 'KEEPTTL')
  redis.call('ZADD', lock.holders, whole(now + span), id)
  redis.call('HSET', lock.waiters, id, 'g ' .. whole(lock.token))
  if weight(id) > 1 then
    redis.call('HINCRBY', lock.waiters, '+', weight(id) - 1)
  end
end

-- Passes what is free to the first waiters, for a moment: each must confirm. Returns who waits first then, and
-- whether the queue is empty.
local function pass(lock, now, permits, publish)
  while true do
    local head, empty = first(lock, now)
    if not head or not fits(lock, head.id, permits) then
      return head, empty
    end
    redis.call('ZREM', lock.queue, head.id)
    give(lock, head.id, now, head.grant)
    notify(publish, head, lock.token, now)
  end
end

