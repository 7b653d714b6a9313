-- Writes a value unless a holder with a greater fencing token wrote before.
--
-- KEYS     1 the value: hash with f (token) and v
-- ARGV     1 token  2 value  3 TTL ms
-- returns  1 written, 0 refused
--
-- Invariant: f never decreases while the key exists.

local f = redis.call('HGET', KEYS[1], 'f')
if f and tonumber(f) > tonumber(ARGV[1]) then
  return 0
end
redis.call('HSET', KEYS[1], 'f', ARGV[1], 'v', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
