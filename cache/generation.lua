-- Returns the generation of a tag or of the whole cache. Creates it if there is none.
--
-- KEYS[1] the generation
-- ARGV[1] a new random generation (8 bytes)
-- ARGV[2] minimum remaining TTL in ms
-- ARGV[3] TTL to write in ms, if the remaining TTL is shorter than ARGV[2]
--
-- Returns the generation, its TTL in ms, and the server's time in ms since 1970.
--
-- Invariant: a lost generation is replaced by another one, so that no entry of the lost one becomes
-- valid again (C6).
local generation = redis.pcall('GET', KEYS[1])
if type(generation) ~= 'string' or #generation ~= 8 then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
elseif redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
local now = redis.call('TIME')
-- A read after the write makes the server track the key for this connection.
return {redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1]), now[1] * 1000 + math.floor(now[2] / 1000)}
