-- Shared by mutex_inspect.lua and shared_inspect.lua.

-- Appends the first waiters to reply: id and time waited, µs. The position of a reader is 4000000000000000 µs later
-- than its arrival, so that readers stand behind writers.
local function appendWaiters(lock, now, reply, limit)
  local ids = redis.call('ZRANGE', lock.queue, 0, limit - 1, 'WITHSCORES')
  for i = 1, #ids, 2 do
    local position = tonumber(ids[i + 1])
    if kind(ids[i]) == 'r' then
      position = position - 4000000000000000
    end
    reply[#reply + 1] = ids[i]
    reply[#reply + 1] = now - position
  end
  return reply
end

