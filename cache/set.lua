-- Stores a value that the caller vouches for.
--
-- KEYS[1] value
-- KEYS[2] lease
-- KEYS[3] if there is one: the key that holds a long value
-- ARGV[1] otherwise the value
-- ARGV[2] its TTL in ms
--
-- Returns 1.
--
-- Invariant: the lease goes with the write, so that no load that is under way can replace this value
-- with an older one. A hold-down stays: it is no load's.
if KEYS[3] then
  redis.call('RENAME', KEYS[3], KEYS[1]) -- moves the value without a copy
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
else
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
if redis.pcall('GET', KEYS[2]) ~= 'hold' then
  redis.call('DEL', KEYS[2])
end
return 1
