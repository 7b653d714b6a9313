-- Deletes a session of another library, and remembers that for a while.
--
-- KEYS  the record
-- ARGV  for how long to remember, ms
-- Returns 1.
--
-- Invariant: afterwards the session is not there, also when the server has no memory to remember with.

redis.call('DEL', KEYS[1])
redis.pcall('SET', KEYS[1], '2T', 'PX', ARGV[1])
return 1
