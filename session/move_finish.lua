-- Last step of a login to another slot: the old session and its remember-me token end.
--
-- KEYS  index · the record · its linked record, declared for replaced
-- ARGV  publish command · nonce of the login · id · TTL of the replaced mark, ms
-- Returns D; G if the session was ended since step 1, so that the login must fail.
--
-- Invariant: if the old session was ended between step 1 and this step, the reply is never D.

local r = read(redis.call('GET', KEYS[2]))
if not r or r.state ~= 'M' or r.version ~= ARGV[2] then return 'G' end
replaced(KEYS[1], ARGV[3], ARGV[4])
publish(KEYS[1], ARGV[1])
return 'D'
