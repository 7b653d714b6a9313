-- A permit of a concurrency limit.
--
-- KEYS[1]  sorted set: permit → µs at which it lapses, by the server's clock
-- ARGV[1]  limit;  ARGV[2]  TTL in µs;  ARGV[3]  permit;  ARGV[4]  "new", or "extend": only if it has not lapsed
-- Returns  ≥ 0: granted, that many are left; −1 when extending: lapsed; else −1 − µs until the first permit lapses
-- Invariant: at most limit permits have not lapsed.
--
-- A permit that lapses later than a TTL from now was granted before the clock stepped back: it is given a TTL
-- from now, the most it can have left.
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local key, limit, ttl = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2])
local function us(n)
  return string.format('%.0f', n)
end
redis.call('ZREMRANGEBYSCORE', key, '-inf', us(now))
for _, permit in ipairs(redis.call('ZRANGEBYSCORE', key, '(' .. us(now + ttl), '+inf')) do
  redis.call('ZADD', key, us(now + ttl), permit)
end
local held = redis.call('ZSCORE', key, ARGV[3])
if ARGV[4] == 'extend' and not held then
  return -1
end
local out = redis.call('ZCARD', key)
if not held then
  if out >= limit then
    local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
    return -1 - math.max(1, first[2] - now)
  end
  out = out + 1
end
redis.call('ZADD', key, us(now + ttl), ARGV[3])
redis.call('PEXPIRE', key, us(math.ceil(ttl / 1000) + 1))
return math.max(0, limit - out)
