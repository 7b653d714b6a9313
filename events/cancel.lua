-- Cancels an event that is not due yet.
--
-- KEYS  1 delayed (sorted set)  2 later (hash: see delayed.lua)  3 mark of the event's id
-- ARGV  1 id within its channel
-- Returns 1 if the event was cancelled, 0 if it is not delayed: it was never published, or is in the stream.
-- Invariant: a cancelled event never appears, and its id may be published again.
local packed = redis.call('HGET', KEYS[2], ARGV[1])
if not packed then return 0 end
redis.call('ZREM', KEYS[1], string.match(packed, '^%d+') .. ' ' .. ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('DEL', KEYS[3])
return 1
