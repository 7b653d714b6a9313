-- Releases a lease without a value.
--
-- KEYS[1] value
-- KEYS[2] lease
-- KEYS[3] outcome
-- ARGV[1] token of the load
-- ARGV[2] '1': delete the stored value too, because the source has no value
-- ARGV[3] outcome of the load, for processes that wait for it; '' for none
-- ARGV[4] TTL of the outcome in ms
--
-- Returns 1, or 0 if the lease is lost.
--
-- Invariant: only the load whose token the lease holds changes anything.
if redis.pcall('GET', KEYS[2]) ~= ARGV[1] then
  return 0
end
redis.call('DEL', KEYS[2])
if ARGV[2] == '1' then
  redis.call('DEL', KEYS[1])
end
if ARGV[3] ~= '' then
  -- Last: a full server refuses it, and the lease is released anyway.
  redis.pcall('SET', KEYS[3], ARGV[1] .. ARGV[3], 'PX', ARGV[4])
end
return 1
