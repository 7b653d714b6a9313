-- Stores a value of Set.
--
-- KEYS[1] value
-- KEYS[2] lease
-- KEYS[3] optional: key that holds a long value
-- ARGV[1] the value, without KEYS[3]
-- ARGV[2] its TTL in ms
--
-- Returns 1.
--
-- Invariant: the script removes the lease with the write, so that no running load can replace this value
-- with an older one. A hold-down stays, because no load holds it.
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
