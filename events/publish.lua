-- Adds an event once per id, now or later.
--
-- KEYS  1 stream  2 mark of the event id  3 delayed (sorted set: event by due ms)
-- ARGV  1 channel  2 envelope  3 how long the id is remembered, ms (0 = the id is not remembered)  4 delay, ms (0 = now)
--       5 due, unix ms (0 = use the delay)
-- Returns the stream id; "delayed"; "duplicate" if the id was seen.
-- Invariant: an id whose mark stands is added nowhere.
if ARGV[3] ~= '0' and redis.call('EXISTS', KEYS[2]) == 1 then
  redis.call('PEXPIRE', KEYS[2], ARGV[3]) -- a write, for WAIT to wait for; not before: it would let a full server take more
  return 'duplicate'
end
local id = 'delayed'
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local due = tonumber(ARGV[5])
if due == 0 then due = now + ARGV[4] end
if due > now then
  redis.call('ZADD', KEYS[3], due, #ARGV[1] .. ':' .. ARGV[1] .. ARGV[2])
else
  id = redis.call('XADD', KEYS[1], '*', 'c', ARGV[1], 'e1', ARGV[2])
end
if ARGV[3] ~= '0' then redis.call('SET', KEYS[2], '1', 'PX', ARGV[3]) end
return id
