-- Notes that a session is in use, and moves its expiry.
--
-- KEYS  index · the record
-- ARGV  id
-- Returns D and the server's time in ms; G.
--
-- Invariant: what is not there is never written, and the deadline is never moved.

local r = read(redis.call('GET', KEYS[2]))
if not live(r) then return 'G' end
local at = expiry(r)
if at <= now then return 'G' end
-- A server that is out of memory refuses the SET and the ZADD; the PEXPIREAT keeps its users logged in.
redis.call('PEXPIREAT', KEYS[2], int(at))
r.touched = ms(now)
store(KEYS[1], ARGV[1], r, at)
return 'D' .. ms(now)
