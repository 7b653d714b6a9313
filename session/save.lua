-- Replaces the body of a session, and its secret if it is renewed.
--
-- KEYS  index · the record · the grace key of the old token (renewal only)
-- ARGV  expected version · new version · new hash or '' · grace period ms · body · id
-- Returns D and the time of the server in ms; G; C and the record.
--
-- Invariant: never creates a record. A save after a revocation stores nothing.

local v = redis.call('GET', KEYS[2])
local r = read(v)
if not live(r) then return 'G' end
if r.version ~= ARGV[1] then return 'C' .. v end
local at = expiry(r)
if at <= now then return 'G' end
r.version, r.touched, r.body = ARGV[2], ms(now), ARGV[5]
if ARGV[3] ~= '' then r.hash = ARGV[3] end
store(KEYS[1], ARGV[6], r, at)
if KEYS[3] and ARGV[4] ~= '0' then redis.call('SET', KEYS[3], '1', 'PX', ARGV[4]) end
return 'D' .. ms(now)
