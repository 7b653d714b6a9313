-- Publishes one live event to the two channels that it has, so that its text travels to the server once.
--
-- KEYS  none
-- ARGV  1 PUBLISH or SPUBLISH  2 the channel itself  3 its glob partition  4 text
-- Returns how many connections have received it.
-- Invariant: it is sent to servers without slots alone: the two channels would be in two slots.
return redis.call(ARGV[1], ARGV[2], ARGV[4]) + redis.call(ARGV[1], ARGV[3], ARGV[4])
