-- Shared by mutex_heartbeat.lua and shared_heartbeat.lua.

-- Records that a process is alive, and removes processes without a heartbeat for a minute. Returns false if the process
-- counted as dead: then its waiters may be gone from the queue.
local function heartbeat(lock, process, now, aliveUntil, retention)
  local previous = redis.call('ZSCORE', lock.heartbeats, process)
  if not previous or tonumber(previous) <= now then
    return false
  end
  redis.call('ZADD', lock.heartbeats, integer(aliveUntil), process)
  redis.call('ZREMRANGEBYSCORE', lock.heartbeats, '-inf', integer(now - 60000000))
  extend(lock.queue, retention)
  extend(lock.waiters, retention)
  extend(lock.heartbeats, retention)
  return true
end

-- Appends to reply the number of the ids after ARGV[at] that are not in the queue, and their indexes.
local function absent(lock, reply, at, ids)
  local count = #reply + 1
  reply[count] = 0
  for k = 1, ids do
    if not redis.call('ZSCORE', lock.queue, ARGV[at + k]) then
      reply[count] = reply[count] + 1
      reply[#reply + 1] = k
    end
  end
end

