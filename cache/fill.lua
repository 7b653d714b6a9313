-- Stores the value of a load, if the load still holds its lease.
--
-- KEYS[1] value
-- KEYS[2] lease
-- KEYS[3] optional: key that holds a long value
-- ARGV[1] token of the load
-- ARGV[2] the value, without KEYS[3]
-- ARGV[3] its TTL in ms
-- ARGV[4] '1': the server tracks the value for this connection
--
-- Returns 1 if stored, 0 if the lease is lost: an invalidation or a Set removed it, or its TTL ended.
--
-- Invariant: a load writes only while the lease holds its token, and deletes the lease with the write.
if redis.pcall('GET', KEYS[2]) ~= ARGV[1] then
  if KEYS[3] then
    redis.call('DEL', KEYS[3])
  end
  return 0
end
if KEYS[3] then
  redis.call('RENAME', KEYS[3], KEYS[1]) -- moves the value without a copy
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
else
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
redis.call('DEL', KEYS[2])
if ARGV[4] == '1' then
  -- A read after the write makes the server track the key. It then pushes the next change, which ends
  -- the near-cached entry of this value.
  redis.call('STRLEN', KEYS[1])
end
return 1
