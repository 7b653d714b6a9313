-- Takes back the first step of a login, when its second step certainly did not happen.
--
-- KEYS  index · the record
-- ARGV  nonce of that login · the version before · id
-- Returns 1; 0 if the session is gone: it was revoked in between.
--
-- Invariant: only what this login has buried comes back, and only if nobody ended it since.

local v = redis.call('GET', KEYS[2])
if not v or #v < 114 or string.sub(v, 1, 2) ~= '1B' or string.sub(v, 4, 11) ~= ARGV[1] then return 0 end
local at = expiry(v)
if at <= now then return 0 end
store(KEYS[1], ARGV[3], '1L' .. string.sub(v, 3, 3) .. ARGV[2] .. string.sub(v, 12), at)
return 1
