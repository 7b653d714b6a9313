-- Takes the lease of a partition for a group if it is free, and creates the group if it is missing.
--
-- KEYS  1 lease  2 group (hash: fence, turn, read: see poll.lua)  3 stream  4 groups (set of registered groups)
-- ARGV  1 token  2 lease, ms  3 group  4 start of a missing group (an id)
-- Returns { fence, 1 if the group was missing }, or nil if another token holds the lease.
-- Invariant: the fence only grows, even if the hash was deleted: it is at least the server's time in
-- microseconds.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return false end
redis.call('DEL', KEYS[1]) -- a script that has written may go on writing when memory is full
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
local time = redis.call('TIME')
local fence = math.max(tonumber(redis.call('HGET', KEYS[2], 'fence') or '0') + 1, time[1] * 1000000 + time[2])
redis.call('HSET', KEYS[2], 'fence', string.format('%.0f', fence), 'turn', '0')
redis.call('SADD', KEYS[4], ARGV[3])
local made = redis.pcall('XGROUP', 'CREATE', KEYS[3], ARGV[3], ARGV[4], 'MKSTREAM')
if made.err and not string.find(made.err, 'BUSYGROUP', 1, true) then return redis.error_reply(made.err) end
if not made.err then redis.call('HDEL', KEYS[2], 'read', 'last') end -- it is counted again, from when everything has been read
return { string.format('%.0f', fence), made.err and 0 or 1 }
