-- Answers the generation of a tag or of the whole cache, and makes sure that there is one.
--
-- KEYS[1] the record
-- ARGV[1] a generation never used before (8 bytes)
-- ARGV[2] for how long at least the record must live on, in ms
-- ARGV[3] for how long a record is written, in ms
--
-- Returns the generation, its TTL in ms, and the server's time in ms.
--
-- Invariant: a record that was lost comes back with another generation, so that nothing that was
-- stored under the lost one becomes valid again (C6).
local generation = redis.pcall('GET', KEYS[1])
if type(generation) ~= 'string' or #generation ~= 8 then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
elseif redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
local now = redis.call('TIME')
-- Reading after writing makes the server track the record for the connection that asked.
return {redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1]), now[1] * 1000 + math.floor(now[2] / 1000)}
