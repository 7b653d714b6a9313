-- Lists the channels of a group that have parked events in one partition, for tools.
--
-- KEYS  1 retry (sorted set: channel by due time, ms)  2 tries (hash: id to attempts)  3 prefix of the parked lists
-- ARGV  1 most channels  2 bytes of parked events to read
-- Returns for each channel: name, due time, events in its list, id of the first event or "", attempts of the first event.
-- Invariant: the script writes nothing. It reads at most ARGV 2 bytes and one event more; beyond that
-- it returns no ids.
local out, left = {}, tonumber(ARGV[2])
local flat = redis.call('ZRANGE', KEYS[1], 0, ARGV[1] - 1, 'WITHSCORES')
for i = 1, #flat, 2 do
  local list, id, attempts = KEYS[3] .. flat[i], '', '0'
  if left > 0 then
    local head = redis.call('LRANGE', list, 0, 0)[1] or ''
    left = left - #head
    id = string.match(head, '^%S+') or ''
    if id ~= '' then attempts = redis.call('HGET', KEYS[2], id) or '0' end
  end
  out[#out + 1] = flat[i]
  out[#out + 1] = flat[i + 1]
  out[#out + 1] = redis.call('LLEN', list)
  out[#out + 1] = id
  out[#out + 1] = attempts
end
return out
