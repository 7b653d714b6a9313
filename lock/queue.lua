-- Shared by the scripts of this package, in front of each of them: the queue of waiters.
-- KEYS[2] is a sorted set, waiter id -> place; KEYS[3] a hash, waiter id -> "<alive until> <grant> <channel>": the grant is
-- how long what is passed to the waiter stays its own before it has confirmed. Times are µs of the server's clock.

local function clock()
  local t = redis.call('TIME')
  return t[1] * 1000000 + t[2]
end

local function whole(x)
  return string.format('%.0f', x)
end

local function leave(id)
  redis.call('HDEL', KEYS[3], id)
  return redis.call('ZREM', KEYS[2], id)
end

-- The first waiter that was heard of lately, its channel and its grant; dead ones before it are dropped. Without one: three
-- times nil, and whether the queue is empty (it is not when there were more dead than one script should drop).
local function first(now)
  for _ = 1, 500 do
    local id = redis.call('ZRANGE', KEYS[2], 0, 0)[1]
    if not id then
      return nil, nil, nil, true
    end
    local w = redis.call('HGET', KEYS[3], id)
    if w then
      local alive, grant, channel = string.match(w, '^(%d+) (%d+) (.*)$')
      if alive and tonumber(alive) > now then
        return id, channel, tonumber(grant), false
      end
    end
    leave(id)
  end
  return nil, nil, nil, false
end

-- Takes a place in the queue or says that one is still there.
local function queue(id, place, alive, grant, channel)
  redis.call('ZADD', KEYS[2], 'NX', whole(place), id)
  redis.call('HSET', KEYS[3], id, whole(alive) .. ' ' .. grant .. ' ' .. channel)
end

-- Tells a waiter what was passed to it: the token, and when its lease began. Its clock has a bound for that moment, so it
-- knows from the message alone until when the lock is its own.
local function tell(publish, channel, id, token, now)
  redis.call(publish, channel, id .. ' ' .. whole(token) .. ' ' .. whole(now))
end

local function outlive(key, ms)
  if redis.call('PTTL', key) < ms then
    redis.call('PEXPIRE', key, whole(ms))
  end
end

local FORMAT = 'WRONGTYPE what is stored here is not a lock of this release'

