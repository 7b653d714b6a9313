-- The last step of a login into another slot: the old session and its remember-me token end.
--
-- KEYS  index · the record
-- ARGV  publish command · nonce of that login · id · for how long it is marked as replaced, ms
-- Returns D; G if the session was ended since the first step, so that the login must not stand.
--
-- Invariant: a login of which the first step was ended before this one never answers D.

local r = read(redis.call('GET', KEYS[2]))
if not r or r.state ~= 'M' or r.version ~= ARGV[2] then return 'G' end
replaced(KEYS[1], ARGV[3], ARGV[4])
publish(KEYS[1], ARGV[1])
return 'D'
