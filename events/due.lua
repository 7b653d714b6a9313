-- Moves due events into the stream, for partitions without a running group. delayed.lua precedes this text.
--
-- KEYS  1 stream  2 delayed (sorted set)  3 later (hash)
-- ARGV  1 bytes of bodies to move before the script returns
-- Returns { number of moved events, ms until the next event is due, or -1 }.
-- Invariant: an event is either in the stream or in the delayed set.
redis.call('ZREMRANGEBYSCORE', KEYS[2], 1, 0) -- changes nothing; a script that has written may go on writing when memory is full
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local n = appear(KEYS[1], KEYS[2], KEYS[3], now, tonumber(ARGV[1]))
local due = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2]
return { n, due and string.format('%.0f', math.max(due - now, 0)) or '-1' }
