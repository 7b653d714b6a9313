-- Adds events to a partition, each once per id, now or later, in the order of ARGV. delayed.lua goes before it.
--
-- KEYS  1 stream  2 delayed (sorted set)  3 later (hash: see delayed.lua)
--       4… one per event: mark of its id (the delayed set where the id is not remembered)
-- ARGV  1 how long an id is remembered after the event is due, ms
--       then per event:  id within its channel  envelope  digest of the content ("" = the id is not remembered)
--                        delay, ms (0 = now)  due, unix ms (0 = use the delay)
-- Returns one word per event, separated by spaces: the stream id; "delayed"; "duplicate" if the id was seen with the same
-- content; "conflict" if it was seen with other content.
-- Invariant: an id whose mark stands is added nowhere, and a mark's expiry is set once. Events that are due at the same ms keep the
-- order of their publication. Either every write is made or none: a full server refuses the first one.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local out = {}
for i = 4, #KEYS do
  local at = 5 * (i - 4) + 2
  local id, envelope, digest, delay, due = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], tonumber(ARGV[at + 4])
  local seen = digest ~= '' and redis.call('GET', KEYS[i])
  if seen then
    -- A write that changes nothing, for WAIT to wait for. A mark in its last millisecond gets one more: 0 would delete it.
    redis.call('PEXPIRE', KEYS[i], math.max(redis.call('PTTL', KEYS[i]), 1)) -- the clock stands still within a script
    out[#out + 1] = (seen == digest or seen == '1') and 'duplicate' or 'conflict'
  else
    local timed = due > 0 or tonumber(delay) > 0
    if due == 0 then due = now + delay end
    -- One that is due by now goes behind those that are due and not moved yet.
    if due > now or timed and redis.call('ZRANGE', KEYS[2], '-inf', now, 'BYSCORE', 'LIMIT', 0, 1)[1] then
      local last = redis.call('ZRANGE', KEYS[2], due, due, 'BYSCORE', 'REV', 'LIMIT', 0, 1)[1]
      local number = string.format('%012.0f', (tonumber(last and string.match(last, '^%d+') or '') or 0) + 1)
      if redis.call('HEXISTS', KEYS[3], id) == 1 then id = id .. ' ' .. string.format('%.0f', due) .. ' ' .. number end -- ids are not remembered
      redis.call('HSET', KEYS[3], id, number .. ' ' .. envelope)
      redis.call('ZADD', KEYS[2], due, number .. ' ' .. id)
      out[#out + 1] = 'delayed'
    else
      out[#out + 1] = redis.call('XADD', KEYS[1], '*', 'c', channel_of(id), 'e1', envelope)
    end
    if digest ~= '' then
      redis.call('SET', KEYS[i], digest, 'PX', string.format('%.0f', ARGV[1] + math.max(due - now, 0)))
    end
  end
end
return table.concat(out, ' ')
