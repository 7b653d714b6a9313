-- Reads the holders and the waiters of a semaphore or a read-write lock.
--
-- KEYS     1 counter  2 queue  3 waiters and tokens  4 holders  5 heartbeats
-- ARGV     1 how many holders and waiters to list
-- returns  as mutex_inspect.lua
--
-- Invariant: writes nothing.

local lock = load(1, 'GET')
if not lock then
  return redis.error_reply(FORMAT)
end
local now, limit = clock(), tonumber(ARGV[1])
local live = '(' .. integer(now)
local ids = redis.call('ZRANGEBYSCORE', lock.holders, live, '+inf', 'WITHSCORES', 'LIMIT', 0, limit)
local reply = {lock.token, redis.call('ZCOUNT', lock.holders, live, '+inf'), redis.call('ZCARD', lock.queue), #ids / 2}
for i = 1, #ids, 2 do
  local token = string.match(redis.call('HGET', lock.waiters, ids[i]) or '', '^g (%d+)$')
  reply[#reply + 1] = ids[i]
  reply[#reply + 1] = tonumber(token or 0)
  reply[#reply + 1] = tonumber(ids[i + 1]) - now
end
return appendWaiters(lock, now, reply, limit)
