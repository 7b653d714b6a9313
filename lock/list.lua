-- The waiters of a lock for those who look at it: appends the first ones, each with its id and how long it has waited,
-- in µs. Readers stand behind writers by a place that is 4000000000000000 later.

local function list(lock, now, reply, limit)
  local ids = redis.call('ZRANGE', lock.queue, 0, limit - 1, 'WITHSCORES')
  for i = 1, #ids, 2 do
    local place = tonumber(ids[i + 1])
    if kind(ids[i]) == 'r' then
      place = place - 4000000000000000
    end
    reply[#reply + 1] = ids[i]
    reply[#reply + 1] = now - place
  end
  return reply
end

