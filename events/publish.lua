-- Adds events to a partition, each once per id, now or later, in the order of ARGV.
--
-- KEYS  1 stream  2 delayed (sorted set: event by due ms)  3… one per event: mark of its id (the delayed set where the id is not remembered)
-- ARGV  1 how long an id is remembered after the event is due, ms
--       then per event:  channel  envelope  digest of the content ("" = the id is not remembered)
--                        delay, ms (0 = now)  due, unix ms (0 = use the delay)
-- Returns one word per event, separated by spaces: the stream id; "delayed"; "duplicate" if the id was seen with the same
-- content; "conflict" if it was seen with other content.
-- Invariant: an id whose mark stands is added nowhere, and a mark's expiry is set once. Either every write is made or none: a full
-- server refuses the first one.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local out = {}
for i = 3, #KEYS do
  local at = 5 * (i - 3) + 2
  local channel, envelope, digest, delay, due = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], tonumber(ARGV[at + 4])
  local seen = digest ~= '' and redis.call('GET', KEYS[i])
  if seen then
    -- A write that changes nothing, for WAIT to wait for.
    redis.call('PEXPIRE', KEYS[i], redis.call('PTTL', KEYS[i])) -- the clock stands still within a script
    out[#out + 1] = (seen == digest or seen == '1') and 'duplicate' or 'conflict'
  else
    if due == 0 then due = now + delay end
    if due > now then
      redis.call('ZADD', KEYS[2], due, #channel .. ':' .. channel .. envelope)
      out[#out + 1] = 'delayed'
    else
      out[#out + 1] = redis.call('XADD', KEYS[1], '*', 'c', channel, 'e1', envelope)
    end
    if digest ~= '' then
      redis.call('SET', KEYS[i], digest, 'PX', string.format('%.0f', ARGV[1] + math.max(due - now, 0)))
    end
  end
end
return table.concat(out, ' ')
