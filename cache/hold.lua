-- Deletes a value and starts a hold-down, in which no load may store.
--
-- KEYS[1] value
-- KEYS[2] lease
-- ARGV[1] hold-down in ms
--
-- Returns 1.
--
-- Invariant: 'hold' is not the token of a load (tokens have 16 bytes), so that no running load can store.
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[2], 'hold', 'PX', ARGV[1])
return 1
