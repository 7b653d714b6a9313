-- Cuts parked events of a group that exceed retention or cap, oldest first.
--
-- KEYS  1 heads (sorted set: see poll.lua)  2 retry (sorted set)  3 prefix of the parked lists  4 tries (hash)  5 group (hash)  6 lease
-- ARGV  1 token of the caller, "" if it owns nothing  2 retention, ms (0 = no limit)
--       3 number of events to keep, at most (0 = no limit)  4 bytes to read before the script returns
--       5… channel and number, for each list that is handed out to the caller: the caller holds so many
--       events at the head of the list
-- Returns { number of cut events, 1 if there is more to look at }.
-- Invariant: an event that an owner holds stays. Of a list that is handed out to the caller, only events
-- behind the held ones are cut; of a list that is handed out to another owner, none. The group's hash
-- counts the cut events (cut); the next poll reports them.
redis.call('ZREMRANGEBYSCORE', KEYS[1], 1, 0) -- changes nothing; a script that has written may go on writing when memory is full
local time = redis.call('TIME')
local oldest = time[1] * 1000 + math.floor(time[2] / 1000) - ARGV[2]
local retention, cap, left = tonumber(ARGV[2]) > 0, tonumber(ARGV[3]), tonumber(ARGV[4])
local owner = redis.call('GET', KEYS[6])
local ours, hands = owner == ARGV[1], {}
for i = 5, #ARGV, 2 do hands[ARGV[i]] = tonumber(ARGV[i + 1]) end
local count = tonumber(redis.call('HGET', KEYS[5], 'parked') or '0')
local cut, at, looks = 0, 0, 0

-- remove takes one event off a list: the head, or the first event behind the held ones.
local function remove(channel, list, skip, it)
  if skip == 0 then
    redis.call('LPOP', list)
  else
    redis.call('LSET', list, skip, '')
    redis.call('LREM', list, 1, '')
  end
  redis.call('HDEL', KEYS[4], string.match(it, '^%S+'))
  cut, count = cut + 1, count - 1
  if redis.call('LLEN', list) == 0 then
    redis.call('ZREM', KEYS[1], channel)
    redis.call('ZREM', KEYS[2], channel)
  end
end

while left > 0 and looks < 2000 do
  looks = looks + 1
  local excess = cap > 0 and count > cap
  local top = redis.call('ZRANGE', KEYS[1], at, at, 'WITHSCORES')
  local channel, ms = top[1], tonumber(top[2])
  if not channel or not excess and not (retention and ms < oldest) then break end
  local list, skip = KEYS[3] .. channel, 0
  if owner and redis.call('ZSCORE', KEYS[2], channel) == '1000000000000000' then skip = ours and hands[channel] or -1 end
  local it = skip >= 0 and redis.call('LRANGE', list, skip, skip)[1]
  left = left - (it and #it or 0)
  local head = it and tonumber(string.match(it, '^%d+'))
  if it and skip == 0 and head ~= ms then
    redis.call('ZADD', KEYS[1], head, channel) -- then look again
  elseif it and (excess or retention and head < oldest) then
    remove(channel, list, skip, it)
  elseif not it and redis.call('LLEN', list) == 0 then
    redis.call('ZREM', KEYS[1], channel)
  else
    at = at + 1
  end
end
if cut > 0 then
  redis.call('HINCRBY', KEYS[5], 'cut', cut)
  if count == 0 then redis.call('HDEL', KEYS[5], 'parked') else redis.call('HINCRBY', KEYS[5], 'parked', -cut) end
end
return { cut, (left <= 0 or looks == 2000) and 1 or 0 }
