-- The first step of a login into another slot: the old token is dead from here.
--
-- KEYS  index · the record
-- ARGV  publish command · expected version · nonce of this login · for how long, ms · id
-- Returns 1; 0 if the session is gone or ended; the record if its version is another.
--
-- Invariant: of all logins, saves and revocations of one version exactly one succeeds.

local v = redis.call('GET', KEYS[2])
if not alive(v) then return 0 end
if string.sub(v, 4, 11) ~= ARGV[2] then return v end
local at = expiry(v)
if at <= now then return 0 end
-- Into the index too: who ends all sessions of the user meanwhile must find this one, or a failed login would bring it back.
store(KEYS[1], ARGV[5], '1B' .. string.sub(v, 3, 3) .. ARGV[3] .. string.sub(v, 12), math.min(at, now + tonumber(ARGV[4])))
ended[1] = ARGV[5]
if string.sub(v, 67, 82) ~= '................' then finish(KEYS[1], string.sub(v, 67, 82)) end
tell(KEYS[1], ARGV[1])
return 1
