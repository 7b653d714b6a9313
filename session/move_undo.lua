-- Takes back the first step of a login, when its second step certainly did not happen.
--
-- KEYS  index · the record
-- ARGV  nonce of that login · the version before · id
-- Returns D; G if the session was revoked in between.
--
-- Invariant: only what this login has moved comes back, and only if it was not ended since.

local r = read(redis.call('GET', KEYS[2]))
if not r or r.state ~= 'M' or r.version ~= ARGV[1] then return 'G' end
local at = expiry(r)
if at <= now then return 'G' end
r.state, r.version = 'L', ARGV[2]
store(KEYS[1], ARGV[3], r, at)
return 'D'
