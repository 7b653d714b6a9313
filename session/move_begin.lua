-- Step 1 of a login to another slot: the old token is invalid from here.
--
-- KEYS  index · the record
-- ARGV  expected version · nonce of this login · TTL of the moving state, ms · id
-- Returns D; G; C and the record.
--
-- Invariant: of all logins, saves and revocations of one version, exactly one succeeds.

local v = redis.call('GET', KEYS[2])
local r = read(v)
if not live(r) then return 'G' end
if r.version ~= ARGV[1] then return 'C' .. v end
local at = expiry(r)
if at <= now then return 'G' end
-- The record stays in the index: RevokeUser must find it, or the undo of a failed login would
-- restore it.
r.state, r.version = 'M', ARGV[2]
store(KEYS[1], ARGV[4], r, math.min(at, now + tonumber(ARGV[3])))
return 'D'
