-- Deletes a session of another library and leaves a tombstone.
--
-- KEYS  the record
-- ARGV  TTL of the tombstone, ms
-- Returns 1.
--
-- Invariant: the session is deleted, even if the server has no memory for the tombstone.

redis.call('DEL', KEYS[1])
redis.pcall('SET', KEYS[1], '2T', 'PX', ARGV[1])
return 1
