-- Replaces the body of a session, and its secret too when it is renewed.
--
-- KEYS  index · the record · the grace of the old token (renewal only)
-- ARGV  expected version · new version · new hash or '' · grace ms · body · id
-- Returns the server's time in ms; 0 if the session is gone or ended; the record if its version is another.
--
-- Invariant: what is not there is never written. A save that comes after a revocation saves nothing.

local v = redis.call('GET', KEYS[2])
if not alive(v) then return 0 end
if string.sub(v, 4, 11) ~= ARGV[1] then return v end
local at = expiry(v)
if at <= now then return 0 end
local hash = ARGV[3]
if hash == '' then hash = string.sub(v, 83, 114) end
store(KEYS[1], ARGV[6], string.sub(v, 1, 3) .. ARGV[2] .. string.sub(v, 12, 27) .. ms(now) .. string.sub(v, 41, 82) .. hash .. ARGV[5], at)
if KEYS[3] and ARGV[4] ~= '0' then redis.call('SET', KEYS[3], '1', 'PX', ARGV[4]) end
return now
