-- Undoes step 1 of a login whose step 2 certainly failed.
--
-- KEYS  index · the record
-- ARGV  nonce of the login · previous version · id
-- Returns D; G if the session was revoked in between.
--
-- Invariant: restores only what this login has moved, and only if it was not ended since.

local r = read(redis.call('GET', KEYS[2]))
if not r or r.state ~= 'M' or r.version ~= ARGV[1] then return 'G' end
local at = expiry(r)
if at <= now then return 'G' end
r.state, r.version = 'L', ARGV[2]
store(KEYS[1], ARGV[3], r, at)
return 'D'
