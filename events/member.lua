-- Heartbeat of a process: renews its membership and lists the members of the group.
--
-- KEYS  1 members of the group (sorted set: member by expiry ms)  2 bus (hash: partitions, paused:<group>)
-- ARGV  1 member  2 time to live of the membership, ms (0 = leave)  3 partitions  4 group
-- Returns { partitions as stored, {member…} sorted, time at which the group was paused (ms) or "" }.
-- Invariant: the script stores the number of partitions once and never changes it.
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
