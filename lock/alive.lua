-- What pulse.lua and beat.lua share.

-- Says that a process lives, and forgets processes that have not for a minute. Returns false if the process counted as
-- dead, so that its waiters may have been dropped.
local function alive(lock, process, now, till, retention)
  local was = redis.call('ZSCORE', lock.pulses, process)
  if not was or tonumber(was) <= now then
    return false
  end
  redis.call('ZADD', lock.pulses, whole(till), process)
  redis.call('ZREMRANGEBYSCORE', lock.pulses, '-inf', whole(now - 60000000))
  outlive(lock.queue, retention)
  outlive(lock.waiters, retention)
  outlive(lock.pulses, retention)
  return true
end

-- Appends to a reply how many of the ids behind ARGV[at] are not in the queue, and their indexes.
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

