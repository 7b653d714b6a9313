-- Deletes a group from one partition.
--
-- KEYS  1 stream  2 groups (set)  3 group (hash)  4 lease  5 retry  6 tries  7 dead letters  8 prefix of the parked lists  9 cut (hash)  10 heads
-- ARGV  1 group
-- Returns 1 if the group existed, else 0.
-- Invariant: only the group's inbox marks stay in the partition; they expire.
local there = redis.call('SREM', KEYS[2], ARGV[1])
local destroyed = redis.pcall('XGROUP', 'DESTROY', KEYS[1], ARGV[1]) -- an error means that there is no stream
for _, channel in ipairs(redis.call('ZRANGE', KEYS[5], 0, -1)) do redis.call('UNLINK', KEYS[8] .. channel) end
redis.call('HDEL', KEYS[9], ARGV[1])
redis.call('UNLINK', KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[10])
if destroyed == 1 then there = 1 end
return there
