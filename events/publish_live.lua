-- Publishes one live event to its two channels, so that its text travels to the server once.
--
-- KEYS  none
-- ARGV  1 PUBLISH or SPUBLISH  2 channel of the event  3 its glob partition  4 text
-- Returns how many connections have received the event.
-- Invariant: the script runs only on servers without slots, because its channels are in two slots.
return redis.call(ARGV[1], ARGV[2], ARGV[4]) + redis.call(ARGV[1], ARGV[3], ARGV[4])
