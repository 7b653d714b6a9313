-- What can happen to a mutex, shared by its scripts. KEYS come in fours: state, queue, waiters, pulses.

-- Reads the n-th lock; nil if its format is another one. With a reader GETEX the script counts as one that has
-- written, and a full server lets it write on: only for ids that the server knows already.
local function load(n, reader)
  local at = 4 * n - 3
  local lock = {state = KEYS[at], queue = KEYS[at + 1], waiters = KEYS[at + 2], pulses = KEYS[at + 3]}
  local token, till, lapsed, queued, owner = parse(redis.call(reader, lock.state))
  if not token then
    return nil
  end
  lock.token, lock.till, lock.queued, lock.owner = tonumber(token), tonumber(till), queued == '1', owner
  lock.lapsed = lapsed and tonumber(lapsed)
  return lock
end

local function save(lock, now, retention)
  local ms = retention
  if lock.till > now then
    ms = ms + (lock.till - now) / 1000
  end
  redis.call('SET', lock.state, string.format('1 %.0f %.0f %.0f %s %s', lock.token, lock.till, lock.lapsed or 0,
    lock.queued and '1' or '0', lock.owner), 'PX', whole(ms))
end

-- Free: gives the lock to an id, under a new token.
local function give(lock, id, now, span)
  if lock.queued and leave(lock, id) == 1 then
    lock.queued = redis.call('ZCARD', lock.queue) > 0
  end
  lock.token = math.max(lock.token + 1, now)
  lock.lapsed = lock.lapsed or lock.token - 1
  lock.owner, lock.till, lock.changed = id, now + span, true
end

-- Held, and the lease has ended: free. Returns whether the lock is free.
local function free(lock, now)
  if lock.owner ~= '-' and lock.till <= now then
    lock.lapsed, lock.owner, lock.till, lock.changed = lock.token, '-', 0, true
  end
  return lock.owner == '-'
end

-- Free: kept for the All at the head, for as long as it has waited, from 0.1 s to 5 s.
local function keep(lock, id, now)
  local place = tonumber(redis.call('ZSCORE', lock.queue, id) or now)
  lock.till, lock.changed = now + math.min(math.max(now - place, 100000), 5000000), true
end

-- Free: returns whether an id may take it. If not, the lock is passed to the first waiter for a moment (the waiter
-- must confirm), or kept for the first All.
local function turn(lock, id, now, publish)
  local head, empty = first(lock, now)
  if not head or head.id == id then
    if empty then
      lock.changed, lock.queued = lock.changed or lock.queued, false
    end
    return empty or head ~= nil
  end
  if kind(head.id) == 'a' then
    if lock.till == 0 then
      keep(lock, head.id, now)
      notify(publish, head, 0, 0)
    end
    if lock.till > now then
      return false
    end
    head = first(lock, now, true)
    if not head or head.id == id then
      return true
    end
  end
  give(lock, head.id, now, head.grant)
  notify(publish, head, lock.token, now)
  return false
end

