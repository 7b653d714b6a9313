-- Begins a session with a remember-me token, and replaces the token.
--
-- KEYS  index · the remember-me record · the grace of its old token
-- ARGV  publish command · id of the record · expected version · new version · new hash · grace ms · new body; an empty
--       version leaves the record as it is · the session: id, version, idle ms, lifetime ms, hash, body
-- Returns created µs; 0 if the record is gone or ended; the record if its version is another.
--
-- Invariant: no session begins with a token whose record is not there.

local index, id = KEYS[1], ARGV[2]
local v = redis.call('GET', KEYS[2])
if not alive(v) or string.sub(v, 3, 3) ~= 'r' then return 0 end
local at = expiry(v)
if at <= now then return 0 end
if string.sub(v, 4, 11) ~= ARGV[3] then return v end
local deadline = 0
if ARGV[11] ~= '0' then deadline = now + tonumber(ARGV[11]) end
local session = '1Lu' .. ARGV[9] .. string.format('%016.0f', micros) .. ms(now) .. ms(deadline) .. ms(tonumber(ARGV[10])) .. id .. ARGV[12] .. ARGV[13]
store(index, ARGV[8], session, expiry(session))
if ARGV[4] ~= '' then
  store(index, id, '1Lr' .. ARGV[4] .. string.sub(v, 12, 27) .. ms(now) .. string.sub(v, 41, 66) .. ARGV[8] .. ARGV[5] .. ARGV[7], at)
  if ARGV[6] ~= '0' then redis.call('SET', KEYS[3], '1', 'PX', ARGV[6]) end
end
return string.format('%016.0f', micros)
