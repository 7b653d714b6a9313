-- Releases a lease without a value.
--
-- KEYS[1] value
-- KEYS[2] lease
-- KEYS[3] outcome
-- ARGV[1] token of the load
-- ARGV[2] '1': the source has no such value any more, so the stored value is deleted as well
-- ARGV[3] what the load ended with, for those who wait for it; '' for nothing
-- ARGV[4] how long the outcome is kept, in ms
--
-- Returns 1, or 0 if the lease was lost.
--
-- Invariant: only the load whose token is in the lease changes anything.
if redis.pcall('GET', KEYS[2]) ~= ARGV[1] then
  return 0
end
redis.call('DEL', KEYS[2])
if ARGV[2] == '1' then
  redis.call('DEL', KEYS[1])
end
if ARGV[3] ~= '' then
  -- Last: a full server refuses it, and the lease is released all the same.
  redis.pcall('SET', KEYS[3], ARGV[1] .. ARGV[3], 'PX', ARGV[4])
end
return 1
