-- The state of a semaphore and of a read-write lock, shared by their scripts. KEYS come in groups of five:
--   counter     "1 <last token>"
--   queue       see queue.lua
--   waiters     as in queue.lua; in addition, the entry of a holder is "g <token>", and the entry + is the sum of the
--               holders' permits beyond one each
--   holders     sorted set, holder id → end of its lease, µs
--   heartbeats  see queue.lua
-- An id begins with what it wants: s one permit, s5 five permits, r to read, w to write. The keys outlive the leases, so
-- that the token never starts again.

-- Reads the n-th lock. Returns nil if its format is another one. For GETEX see mutex.lua.
local function load(n, reader)
  local at = 5 * n - 4
  local lock = {counter = KEYS[at], queue = KEYS[at + 1], waiters = KEYS[at + 2], holders = KEYS[at + 3], heartbeats = KEYS[at + 4]}
  local counter = redis.call(reader, lock.counter)
  local token = string.match(counter or '1 0', '^1 (%d+)$')
  lock.token = token and tonumber(token)
  return token and lock
end

local function save(lock, ms)
  extend(lock.counter, ms)
  extend(lock.queue, ms)
  extend(lock.waiters, ms)
  extend(lock.holders, ms)
end

-- Returns how many permits an id wants.
local function permitsOf(id)
  return tonumber(string.match(id, '^s(%d+)') or 1)
end

-- Removes a holder. Returns 1 if there was one.
local function remove(lock, id)
  local removed = redis.call('ZREM', lock.holders, id)
  if removed == 1 then
    redis.call('HDEL', lock.waiters, id)
    if permitsOf(id) > 1 then
      if redis.call('ZCARD', lock.holders) == 0 then
        redis.call('HDEL', lock.waiters, '+')
      else
        redis.call('HINCRBY', lock.waiters, '+', 1 - permitsOf(id))
      end
    end
  end
  return removed
end

-- Removes up to 500 holders whose leases have ended.
local function expire(lock, now)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', lock.holders, '-inf', integer(now), 'LIMIT', 0, 500)) do
    remove(lock, id)
  end
end

-- Returns whether id can hold next to the present holders. Sets lock.unheld to whether there are none.
local function fits(lock, id, permits)
  if kind(id) == 's' then
    local holders = redis.call('ZCARD', lock.holders)
    lock.unheld = holders == 0
    local extra = lock.unheld and 0 or tonumber(redis.call('HGET', lock.waiters, '+') or 0)
    return holders + extra + permitsOf(id) <= permits
  end
  local holder = redis.call('ZRANGE', lock.holders, 0, 0)[1]
  lock.unheld = not holder
  return not holder or kind(id) == 'r' and kind(holder) == 'r'
end

local function grant(lock, id, now, ttl)
  lock.token = math.max(lock.token + 1, now)
  redis.call('SET', lock.counter, '1 ' .. integer(lock.token), 'KEEPTTL')
  redis.call('ZADD', lock.holders, integer(now + ttl), id)
  redis.call('HSET', lock.waiters, id, 'g ' .. integer(lock.token))
  if permitsOf(id) > 1 then
    redis.call('HINCRBY', lock.waiters, '+', permitsOf(id) - 1)
  end
end

-- Hands free permits to the first waiters for their grants: each must confirm. Returns the waiter that is first
-- afterwards, whether the queue is empty, and whether a waiter got permits.
local function handOn(lock, now, permits, publish)
  local handed = false
  while true do
    local head, empty = first(lock, now)
    if not head or not fits(lock, head.id, permits) then
      return head, empty, handed
    end
    handed = true
    redis.call('ZREM', lock.queue, head.id)
    grant(lock, head.id, now, head.grant)
    notify(publish, head, lock.token, now)
  end
end

