-- Notes that a session is in use, and moves its expiry.
--
-- KEYS  index · the record
-- ARGV  id
-- Returns the server's time in ms; 0 if the session is gone or ended.
--
-- Invariant: what is not there is never written, and the deadline is never moved.

local v = redis.call('GET', KEYS[2])
if not alive(v) then return 0 end
local at = expiry(v)
if at <= now then return 0 end
-- A server that is out of memory refuses the SET and the ZADD; the PEXPIREAT keeps its users logged in.
redis.call('PEXPIREAT', KEYS[2], int(at))
store(KEYS[1], ARGV[1], string.sub(v, 1, 27) .. ms(now) .. string.sub(v, 41), at)
return now
