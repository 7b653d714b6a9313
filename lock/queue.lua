-- The queue of waiters, shared by the scripts that use it. A lock is a table with the names of its keys:
--   queue       sorted set, waiter id → position, µs
--   waiters     hash, waiter id → "<alive until> <grant> <channel>"
--   heartbeats  sorted set, process → alive until
-- A waiter is alive until the later of its own time and the time of its process. The grant is how long a lock that was
-- handed to the waiter stays with it before it confirms. Times are µs of the server's clock. An id is
-- "<kind>.<process>.<number>".

local unnotified = false -- whether a waiter could not be notified

local function clock()
  local t = redis.call('TIME')
  return t[1] * 1000000 + t[2]
end

local function integer(n)
  return string.format('%.0f', n)
end

local function kind(id)
  return string.sub(id, 1, 1)
end

local function process(id)
  return string.match(id, '^[^.]*%.(.*)%.[^.]*$') or ''
end

local function dequeue(lock, id)
  redis.call('HDEL', lock.waiters, id)
  return redis.call('ZREM', lock.queue, id)
end

-- Returns the first live waiter, and whether the queue is empty. Removes the dead waiters before it. With single, it
-- skips waiters for several locks. One script removes up to 500 dead waiters. If more are dead, it returns nil and
-- false.
local function first(lock, now, single)
  local at = 0
  for _ = 1, 500 do
    local id = redis.call('ZRANGE', lock.queue, at, at)[1]
    if not id then
      return nil, at == 0
    end
    local entry = redis.call('HGET', lock.waiters, id)
    local alive, grant, channel = string.match(entry or '', '^(%d+) (%d+) (.*)$')
    if alive and (tonumber(alive) > now or tonumber(redis.call('ZSCORE', lock.heartbeats, process(id)) or 0) > now) then
      if not single or kind(id) ~= 'a' then
        return {id = id, grant = tonumber(grant), channel = channel}, false
      end
      at = at + 1
    else
      dequeue(lock, id)
    end
  end
  return nil, false
end

-- Raises the TTL of a key to at least ms.
local function extend(key, ms)
  if redis.call('PTTL', key) < ms then
    redis.call('PEXPIRE', key, integer(ms))
  end
end

-- Adds a waiter to the queue. A waiter that is in the queue keeps its position.
local function enqueue(lock, id, position, alive, grant, channel, retention)
  redis.call('ZADD', lock.queue, 'NX', integer(position), id)
  redis.call('HSET', lock.waiters, id, integer(alive) .. ' ' .. grant .. ' ' .. channel)
  redis.call('ZADD', lock.heartbeats, integer(alive), process(id))
  extend(lock.queue, retention)
  extend(lock.waiters, retention)
  extend(lock.heartbeats, retention)
end

-- Notifies a waiter of the lock that was handed to it: the token, and the start of its lease. The waiter bounds that
-- time by its own clock, so it knows from the message how long it holds the lock. A refused PUBLISH does not
-- abort the script: the waiter's process finds out within a second.
local function notify(publish, waiter, token, now)
  local sent = redis.pcall(publish, waiter.channel, waiter.id .. ' ' .. integer(token) .. ' ' .. integer(now))
  unnotified = unnotified or type(sent) == 'table'
end

