-- Stores the use of a session and extends its expiry.
--
-- KEYS  index · the record
-- ARGV  id
-- Returns D and the time of the server in ms; G.
--
-- Invariant: never creates a record, and never changes the deadline.

local r = read(redis.call('GET', KEYS[2]))
if not live(r) then return 'G' end
local at = expiry(r)
if at <= now then return 'G' end
-- A server that is out of memory refuses the SET and the ZADD. The PEXPIREAT keeps the user logged
-- in.
redis.call('PEXPIREAT', KEYS[2], int(at))
r.touched = ms(now)
store(KEYS[1], ARGV[1], r, at)
return 'D' .. ms(now)
