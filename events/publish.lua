-- Adds events to a partition, now or at a later time, in the order of ARGV. An id is added once.
-- delayed.lua is prepended to this script.
--
-- KEYS  1 stream  2 delayed events (sorted set)  3 their envelopes (hash: see delayed.lua)
--       4… one per event: the mark of its id (key 2 if the id is not remembered)
-- ARGV  1 how long an id is remembered after the event is due, ms
--       then per event:  id within its channel  envelope  digest of the content ("" = do not remember the id)
--                        delay, ms (0 = now)  due time, unix ms (0 = use the delay)
-- Returns one word per event, separated by spaces: the stream id; "delayed"; "duplicate" if the id
-- has a mark with the same content; "conflict" if the id has a mark with other content.
-- Invariant: an event whose id has a mark is not added. The expiry of a mark never changes. Events
-- with the same due time keep the order of their publication. The script makes all of its writes or
-- none: a full server refuses the first write.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local out = {}
for i = 4, #KEYS do
  local at = 5 * (i - 4) + 2
  local id, envelope, digest, delay, due = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], tonumber(ARGV[at + 4])
  local seen = digest ~= '' and redis.call('GET', KEYS[i])
  if seen then
    -- A write that changes nothing, so that WAIT has a write to wait for. It sets the absolute time:
    -- the clock of Redis 7.0 moves within a script, so PTTL and PEXPIRE would move the expiry.
    local expires = redis.call('PEXPIRETIME', KEYS[i])
    if expires > 0 then redis.call('PEXPIREAT', KEYS[i], expires) end
    out[#out + 1] = (seen == digest or seen == '1') and 'duplicate' or 'conflict'
  else
    local timed = due > 0 or tonumber(delay) > 0
    if due == 0 then due = now + delay end
    -- An event that is already due is queued behind the due events that are not in the stream yet.
    if due > now or timed and redis.call('ZRANGE', KEYS[2], '-inf', now, 'BYSCORE', 'LIMIT', 0, 1)[1] then
      local last = redis.call('ZRANGE', KEYS[2], due, due, 'BYSCORE', 'REV', 'LIMIT', 0, 1)[1]
      local number = string.format('%012.0f', (tonumber(last and string.match(last, '^%d+') or '') or 0) + 1)
      if redis.call('HEXISTS', KEYS[3], id) == 1 then id = id .. ' ' .. string.format('%.0f', due) .. ' ' .. number end -- the same id twice, without dedup
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
