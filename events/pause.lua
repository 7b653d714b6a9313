-- Pauses or resumes a group.
--
-- KEYS  1 bus (hash: partitions, paused:<group>)
-- ARGV  1 group  2 1 = pause, 0 = resume
-- Returns 1 if the state changed, else 0.
-- Invariant: pausing a paused group keeps the time of the first pause.
redis.call('HDEL', KEYS[1], '') -- changes nothing; a script that has written may go on writing when memory is full
local field = 'paused:' .. ARGV[1]
if ARGV[2] == '0' then return redis.call('HDEL', KEYS[1], field) end
local time = redis.call('TIME')
return redis.call('HSETNX', KEYS[1], field, string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)))
