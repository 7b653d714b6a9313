-- Stores a session of another library.
--
-- KEYS  the record
-- ARGV  value · TTL, ms
-- Returns 1; 0 if the session was deleted and its tombstone exists.
--
-- Invariant: a save after the deletion stores nothing.

local v = redis.call('GET', KEYS[1])
if v and string.sub(v, 1, 2) == '2T' then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
