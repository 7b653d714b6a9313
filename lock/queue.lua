-- The queue of waiters, shared by the scripts that know of one. A lock is a table with the names of its keys:
-- queue is a sorted set, waiter id -> place; waiters a hash, waiter id -> "<alive until> <grant> <channel>"; pulses
-- a sorted set, process -> alive until. A waiter is alive while its own time or that of its process lasts. The grant
-- is how long what is passed to a waiter stays its own before it has confirmed. Times are µs of the server's clock.
-- An id is "<kind>.<process>.<number>".

local silent = false -- a waiter could not be notified

local function clock()
  local t = redis.call('TIME')
  return t[1] * 1000000 + t[2]
end

local function whole(n)
  return string.format('%.0f', n)
end

local function kind(id)
  return string.sub(id, 1, 1)
end

local function process(id)
  return string.match(id, '^[^.]*%.(.*)%.[^.]*$') or ''
end

local function leave(lock, id)
  redis.call('HDEL', lock.waiters, id)
  return redis.call('ZREM', lock.queue, id)
end

-- Returns the first live waiter and whether the queue is empty; drops the dead ones before it. With single it passes
-- over those who wait for several locks. Without a waiter the queue is not empty when more were dead than one script
-- should drop.
local function first(lock, now, single)
  local at = 0
  for _ = 1, 500 do
    local id = redis.call('ZRANGE', lock.queue, at, at)[1]
    if not id then
      return nil, at == 0
    end
    local entry = redis.call('HGET', lock.waiters, id)
    local alive, grant, channel = string.match(entry or '', '^(%d+) (%d+) (.*)$')
    if alive and (tonumber(alive) > now or tonumber(redis.call('ZSCORE', lock.pulses, process(id)) or 0) > now) then
      if not single or kind(id) ~= 'a' then
        return {id = id, grant = tonumber(grant), channel = channel}, false
      end
      at = at + 1
    else
      leave(lock, id)
    end
  end
  return nil, false
end

local function outlive(key, ms)
  if redis.call('PTTL', key) < ms then
    redis.call('PEXPIRE', key, whole(ms))
  end
end

-- Takes a place in the queue or confirms one.
local function queue(lock, id, place, alive, grant, channel, retention)
  redis.call('ZADD', lock.queue, 'NX', whole(place), id)
  redis.call('HSET', lock.waiters, id, whole(alive) .. ' ' .. grant .. ' ' .. channel)
  redis.call('ZADD', lock.pulses, whole(alive), process(id))
  outlive(lock.queue, retention)
  outlive(lock.waiters, retention)
  outlive(lock.pulses, retention)
end

-- Notifies a waiter of what was passed to it: the token, and when its lease began. The waiter has a bound for that
-- moment by its own clock, so the message alone says until when the lock is its own. A refused message ends no
-- script half-way: the waiter's process finds out within a second.
local function notify(publish, waiter, token, now)
  local sent = redis.pcall(publish, waiter.channel, waiter.id .. ' ' .. whole(token) .. ' ' .. whole(now))
  silent = silent or type(sent) == 'table'
end

