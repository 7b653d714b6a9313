-- A process says that it is there, and learns who else is.
--
-- KEYS  1 members of the group (sorted set: member by expiry ms)  2 bus (hash: partitions, paused:<group>)
-- ARGV  1 member  2 how long this holds, ms (0 = it leaves)  3 partitions  4 group
-- Returns { partitions as stored, {member…} in a fixed order, since when the group is paused (ms) or "" }.
-- Invariant: the number of partitions is stored once and never changed here.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now) -- first: a script that has written may go on writing when memory is full
redis.call('HSETNX', KEYS[2], 'partitions', ARGV[3])
local stored = redis.call('HGET', KEYS[2], 'partitions')
if stored ~= ARGV[3] then return { stored, {}, '' } end
if ARGV[2] == '0' then
  redis.call('ZREM', KEYS[1], ARGV[1])
else
  redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
  redis.call('PEXPIRE', KEYS[1], ARGV[2] * 4)
end
local members = redis.call('ZRANGE', KEYS[1], 0, -1)
table.sort(members)
return { stored, members, redis.call('HGET', KEYS[2], 'paused:' .. ARGV[4]) or '' }
