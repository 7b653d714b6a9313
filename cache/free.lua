-- Gives a lease up without a value.
--
-- KEYS[1] value
-- KEYS[2] lease
-- ARGV[1] token of the load
-- ARGV[2] '1': the source has no such value any more, so what is stored goes as well
--
-- Returns 1, or 0 if the lease was lost.
--
-- Invariant: only the load whose token is in the lease removes anything.
if redis.pcall('GET', KEYS[2]) ~= ARGV[1] then
  return 0
end
redis.call('DEL', KEYS[2])
if ARGV[2] == '1' then
  redis.call('DEL', KEYS[1])
end
return 1
