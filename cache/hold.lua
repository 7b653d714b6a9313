-- Deletes a value and keeps loads from storing another for a while.
--
-- KEYS[1] value
-- KEYS[2] lease
-- ARGV[1] for how long, in ms
--
-- Returns 1.
--
-- Invariant: 'hold' is no load's token (those have 16 bytes), so that no load under way can store.
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[2], 'hold', 'PX', ARGV[1])
return 1
