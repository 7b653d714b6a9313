-- The transitions of a mutex, shared by its scripts. KEYS come in groups of four: state, queue, waiters, heartbeats.

-- Reads the n-th lock. Returns nil if its format is another one. A script that calls GETEX counts as a script that has
-- written, so a full server accepts its further writes. For that reason, scripts use GETEX only for ids that the
-- server knows already.
local function load(n, reader)
  local at = 4 * n - 3
  local lock = {state = KEYS[at], queue = KEYS[at + 1], waiters = KEYS[at + 2], heartbeats = KEYS[at + 3]}
  local token, leaseEnd, expired, queued, owner = parse(redis.call(reader, lock.state))
  if not token then
    return nil
  end
  lock.token, lock.leaseEnd, lock.queued, lock.owner = tonumber(token), tonumber(leaseEnd), queued == '1', owner
  lock.expired = expired and tonumber(expired)
  return lock
end

local function save(lock, now, retention)
  local ms = retention
  if lock.leaseEnd > now then
    ms = ms + (lock.leaseEnd - now) / 1000
  end
  redis.call('SET', lock.state, string.format('1 %.0f %.0f %.0f %s %s', lock.token, lock.leaseEnd, lock.expired or 0,
    lock.queued and '1' or '0', lock.owner), 'PX', integer(ms))
end

-- Free → held by id, with a new token.
local function grant(lock, id, now, ttl)
  if lock.queued and dequeue(lock, id) == 1 then
    lock.queued = redis.call('ZCARD', lock.queue) > 0
  end
  lock.token = math.max(lock.token + 1, now)
  lock.expired = lock.expired or lock.token - 1
  lock.owner, lock.leaseEnd, lock.changed = id, now + ttl, true
end

-- Held with a lease that has ended → free. Returns whether the lock is free.
local function free(lock, now)
  if lock.owner ~= '-' and lock.leaseEnd <= now then
    lock.expired, lock.owner, lock.leaseEnd, lock.changed = lock.token, '-', 0, true
  end
  return lock.owner == '-'
end

-- Free → reserved for the All at the head. The reservation lasts as long as the All has waited, from 0.1 s to 5 s.
local function reserve(lock, id, now)
  local position = tonumber(redis.call('ZSCORE', lock.queue, id) or now)
  lock.leaseEnd, lock.changed = now + math.min(math.max(now - position, 100000), 5000000), true
end

-- For a free lock: returns whether id may take it. If not, the lock is handed to the first waiter for its grant (the
-- waiter must confirm), or reserved for the first All.
local function mayTake(lock, id, now, publish)
  local head, empty = first(lock, now)
  if not head or head.id == id then
    if empty then -- a reservation ends with the queue
      lock.changed = lock.changed or lock.queued or lock.leaseEnd > 0
      lock.queued, lock.leaseEnd = false, 0
    end
    return empty or head ~= nil
  end
  if kind(head.id) == 'a' then
    if lock.leaseEnd == 0 then
      reserve(lock, head.id, now)
      notify(publish, head, 0, 0)
    end
    if lock.leaseEnd > now then
      return false
    end
    head = first(lock, now, true)
    if not head or head.id == id then
      return true
    end
  end
  grant(lock, head.id, now, head.grant)
  notify(publish, head, lock.token, now)
  return false
end

