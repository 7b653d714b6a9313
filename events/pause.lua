-- Pauses a group or lets it go on.
--
-- KEYS  1 bus (hash: partitions, paused:<group>)
-- ARGV  1 group  2 1 = pause, 0 = resume
-- Returns 1 if that changed something.
-- Invariant: a group that is paused keeps the time at which it was.
redis.call('HDEL', KEYS[1], '') -- nothing; a script that has written may go on writing when memory is full
local field = 'paused:' .. ARGV[1]
if ARGV[2] == '0' then return redis.call('HDEL', KEYS[1], field) end
local time = redis.call('TIME')
return redis.call('HSETNX', KEYS[1], field, string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)))
