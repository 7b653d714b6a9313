-- The first step of a login into another slot: the old token is dead from here.
--
-- KEYS  index · the record
-- ARGV  expected version · nonce of this login · for how long, ms · id
-- Returns D; G; C with the record.
--
-- Invariant: of all logins, saves and revocations of one version exactly one succeeds.

local v = redis.call('GET', KEYS[2])
local r = read(v)
if not live(r) then return 'G' end
if r.version ~= ARGV[1] then return 'C' .. v end
local at = expiry(r)
if at <= now then return 'G' end
-- It stays in the index: the end of all sessions of the user must find it, or a failed login would bring it back.
r.state, r.version = 'M', ARGV[2]
store(KEYS[1], ARGV[4], r, math.min(at, now + tonumber(ARGV[3])))
return 'D'
