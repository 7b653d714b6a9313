-- Stores a value that the caller vouches for.
--
-- KEYS[1] value
-- KEYS[2] lease
-- ARGV[1] the value
-- ARGV[2] its TTL in ms
--
-- Returns 1.
--
-- Invariant: the lease goes with the write, so that no load that is under way can replace this value
-- with an older one. A hold-down stays: it is no load's.
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
if redis.pcall('GET', KEYS[2]) ~= 'hold' then
  redis.call('DEL', KEYS[2])
end
return 1
