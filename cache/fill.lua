-- Stores what a load returned, if nothing has overtaken it.
--
-- KEYS[1] value
-- KEYS[2] lease
-- KEYS[3] if there is one: the key that holds a long value
-- ARGV[1] token of the load
-- ARGV[2] otherwise the value
-- ARGV[3] its TTL in ms
-- ARGV[4] '1': track the value for the connection that asks
--
-- Returns 1 if stored, 0 if the lease was lost: to an invalidation, to a Set, or by time.
--
-- Invariant: a load writes only while its own token is in the lease, and gives the lease up with it.
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
  -- Reading after writing makes the server track the key, so that the near entry made of this value hears
  -- of the next change.
  redis.call('STRLEN', KEYS[1])
end
return 1
