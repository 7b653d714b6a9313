-- Acquires or extends a permit of a concurrency limit.
--
-- KEYS[1]  sorted set: permit → end of its TTL, µs of the server's clock. A permit is "<random>:<its TTL in µs>"
-- ARGV[1]  limit;  ARGV[2]  TTL in µs;  ARGV[3]  permit;  ARGV[4]  "new", or "extend": only if it has not expired
-- Returns  ≥ 0: granted, and so many permits are left; −1 when extending: expired; otherwise −1 − µs until the first
--          permit expires
-- Invariant: after a grant, at most limit permits are out. A call never ends another permit before its TTL.
--
-- On a full server (maxmemory, noeviction), permits that are out are extended, and new ones are refused.
--
-- Callers may have different TTLs, as during a rolling deployment. The key expires after the last permit, whichever call
-- set its expiry.
--
-- If a permit ends later than its own TTL from now, it was granted before the clock stepped back. It is shortened to its
-- TTL from now, which is the most that it can have left. Only a refusal searches for such permits, among 64 of them, from
-- a position that varies with the time: to examine thousands of permits would cost too much.
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local key, limit, ttl = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2])
local function us(n)
  return string.format('%.0f', n)
end

local function removeExpired()
  redis.call('ZREMRANGEBYSCORE', key, '-inf', us(now))
end

if ARGV[4] == 'extend' then
  removeExpired() -- a write that needs no memory: after it, a full server accepts the script's further writes
end
local held = tonumber(redis.call('ZSCORE', key, ARGV[3]) or 0) > now
if ARGV[4] == 'extend' and not held then
  return -1
end

local out = redis.call('ZCOUNT', key, '(' .. us(now), '+inf')
if not held then
  if out >= limit then
    removeExpired()
    local from = math.max(0, now % out - 63)
    local some = redis.call('ZRANGE', key, us(from), us(from + 63), 'WITHSCORES')
    for i = 1, #some, 2 do
      local own = tonumber(string.match(some[i], ':(%d+)$') or ttl)
      if some[i + 1] - now > own then
        redis.call('ZADD', key, us(now + own), some[i])
      end
    end
    local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
    return -1 - math.max(1, first[2] - now)
  end
  out = out + 1
end

redis.call('ZADD', key, us(now + ttl), ARGV[3]) -- the first write of a new permit: a full server refuses it
removeExpired()
local last = redis.call('ZRANGE', key, -1, -1, 'WITHSCORES')
redis.call('PEXPIRE', key, us(math.ceil((last[2] - now) / 1000) + 1))
return math.max(0, limit - out)
