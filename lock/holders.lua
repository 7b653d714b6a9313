-- What a semaphore and a read-write lock keep: KEYS[1] "1 <last token>"; KEYS[4] a sorted set, holder id -> when its
-- lease ends, µs; in KEYS[3] a holder's entry is "g <token>". An id begins with what it wants: s a permit, r to
-- read, w to write. The texts outlive the leases: the token must not start again.

local token = 0

local function load()
  local s = redis.call('GET', KEYS[1])
  if not s then
    return true
  end
  local a = string.match(s, '^1 (%d+)$')
  if a then
    token = tonumber(a)
  end
  return a
end

local function keep(ms)
  for i = 1, 4 do
    outlive(KEYS[i], ms)
  end
end

local function expire(now)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', whole(now), 'LIMIT', 0, 500)) do
    redis.call('ZREM', KEYS[4], id)
    redis.call('HDEL', KEYS[3], id)
  end
end

local function fits(id, permits)
  local kind = string.sub(id, 1, 1)
  if kind == 's' then
    return redis.call('ZCARD', KEYS[4]) < permits
  end
  local one = redis.call('ZRANGE', KEYS[4], 0, 0)[1]
  return not one or kind == 'r' and string.sub(one, 1, 1) == 'r'
end

local function give(id, now, ttl)
  token = math.max(token + 1, now)
  redis.call('SET', KEYS[1], '1 ' .. whole(token), 'KEEPTTL')
  redis.call('ZADD', KEYS[4], whole(now + ttl), id)
  redis.call('HSET', KEYS[3], id, 'g ' .. whole(token))
end

-- Passes what is free to the first waiters, for a moment: each must confirm. Returns who waits
-- first then, and whether nobody does.
local function pass(now, permits, publish)
  while true do
    local head, channel, grant, empty = first(now)
    if not head or not fits(head, permits) then
      return head, empty
    end
    redis.call('ZREM', KEYS[2], head)
    give(head, now, grant)
    tell(publish, channel, head, token, now)
  end
end

